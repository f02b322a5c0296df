// Package site tells where a declaration stands in an application's source and
// what its function is called, for names and error messages.
package site

import (
	"path"
	"reflect"
	"regexp"
	"runtime"
	"strconv"
	"strings"
)

// ours are the packages whose frames are not the application's.
var ours = []string{
	"github.com/gorm-pubsub/pubsub/hooks.",
	"github.com/gorm-pubsub/pubsub/listener.",
	"github.com/gorm-pubsub/pubsub/internal/site.",
}

// Caller returns the nearest caller outside this project's declaring packages
// as "folder/file.go:12", and "unknown place" when the stack doesn't tell.
func Caller() string {
	pcs := make([]uintptr, 16)
	frames := runtime.CallersFrames(pcs[:runtime.Callers(2, pcs)])
	for {
		frame, more := frames.Next()
		if frame.File != "" && !isOurs(frame.Function) {
			folder, file := path.Split(frame.File)
			return path.Join(path.Base(folder), file) + ":" + strconv.Itoa(frame.Line)
		}
		if !more {
			return "unknown place"
		}
	}
}

func isOurs(function string) bool {
	for _, prefix := range ours {
		if strings.HasPrefix(function, prefix) {
			return true
		}
	}
	return false
}

// anonymous matches the names that the compiler gives to function literals.
var anonymous = regexp.MustCompile(`(^|\.)(func|gowrap)\d+(\.\d+|-range\d+)*($|\.)`)

// Func returns the function's name without its package's path, such as
// "createFirstPost" or "Mailer.Welcome" for a method. A function literal has a
// name that the compiler chose and that changes with the code around it: then
// stable is false. f must be a function.
func Func(f any) (name string, stable bool) {
	fn := runtime.FuncForPC(reflect.ValueOf(f).Pointer())
	if fn == nil {
		return "func", false
	}
	full := fn.Name()
	if cut := strings.IndexByte(full, '['); cut >= 0 { // a generic function's type arguments
		full = full[:cut] + full[strings.LastIndexByte(full, ']')+1:]
	}
	_, name, _ = strings.Cut(path.Base(full), ".")
	name = strings.NewReplacer("(*", "", "(", "", ")", "", "-fm", "", "[...]", "").Replace(name)
	return name, !anonymous.MatchString(name)
}
