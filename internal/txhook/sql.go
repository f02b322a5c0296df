package txhook

import "strings"

// command is a statement that says what becomes of a transaction's parts.
type command struct {
	verb verb
	name string // of the savepoint
}

type verb int

const (
	savepoint verb = iota
	release
	rollbackTo
	rollback // of all, or what ends as unknown: PREPARE TRANSACTION
)

// parse recognises such a statement.
//
//	SAVEPOINT name
//	RELEASE [SAVEPOINT] name
//	ROLLBACK [WORK | TRANSACTION] [TO [SAVEPOINT] name]
//	ABORT
//	PREPARE TRANSACTION 'id'
func parse(query string) (command, bool) {
	query = skip(query)
	if len(query) < 5 {
		return command{}, false
	}
	switch query[0] { // most statements are told apart by a letter
	case 's', 'S', 'r', 'R', 'a', 'A', 'p', 'P':
	default:
		return command{}, false
	}
	first, rest := word(query)
	switch strings.ToUpper(first) {
	case "SAVEPOINT":
		name, _ := word(rest)
		return command{savepoint, name}, name != ""
	case "RELEASE":
		name, rest := word(rest)
		if strings.EqualFold(name, "SAVEPOINT") {
			name, _ = word(rest)
		}
		return command{release, name}, name != ""
	case "ROLLBACK":
		next, rest := word(rest)
		if strings.EqualFold(next, "WORK") || strings.EqualFold(next, "TRANSACTION") {
			next, rest = word(rest)
		}
		if !strings.EqualFold(next, "TO") {
			return command{verb: rollback}, true
		}
		name, rest := word(rest)
		if strings.EqualFold(name, "SAVEPOINT") {
			name, _ = word(rest)
		}
		return command{rollbackTo, name}, name != ""
	case "ABORT":
		return command{verb: rollback}, true
	case "PREPARE":
		next, _ := word(rest)
		return command{verb: rollback}, strings.EqualFold(next, "TRANSACTION")
	}
	return command{}, false
}

// word returns the first word, and what follows it. A quoted name is returned as it
// is meant, another in lower case, as most databases take it.
func word(query string) (first, rest string) {
	query = skip(query)
	if query == "" {
		return "", ""
	}
	if quote := query[0]; quote == '"' || quote == '`' {
		var b strings.Builder
		for i := 1; i < len(query); i++ {
			if query[i] == quote {
				if i+1 == len(query) || query[i+1] != quote {
					return b.String(), query[i+1:]
				}
				i++
			}
			b.WriteByte(query[i])
		}
		return "", ""
	}
	end := strings.IndexAny(query, " \t\r\n;-/'\"")
	if end < 0 {
		end = len(query)
	}
	return strings.ToLower(query[:end]), query[end:]
}

// skip skips white space and comments.
func skip(query string) string {
	for {
		query = strings.TrimLeft(query, " \t\r\n;")
		switch {
		case strings.HasPrefix(query, "--"):
			_, query, _ = strings.Cut(query, "\n")
		case strings.HasPrefix(query, "/*"):
			_, query, _ = strings.Cut(query, "*/")
		default:
			return query
		}
	}
}
