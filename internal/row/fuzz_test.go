package row

import (
	"database/sql"
	"encoding/json"
	"math"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"gorm.io/gorm/schema"
)

// every has a field of every kind that a plan treats in a way of its own.
type every struct {
	I  int64
	I2 int16
	U  uint32
	F  float64
	F4 float32
	B  bool
	S  string
	N  string
	NF float64
	Y  []byte
	YT []byte
	T  time.Time
	TS *time.Time
	D  time.Time
	J  json.RawMessage
	JB string
	P  *string
	PI *int32
	SN sql.NullString
	SI sql.NullInt64
	ST sql.NullTime
	TA string
	SA sql.NullString
	CO string
	HS string
	RA string
	OI int64
	JS map[string]any `gorm:"serializer:json"`
	IA string
	X  string
}

var everyTypes = map[string]*Type{
	"i": {OID: oidInt8}, "i2": {OID: oidInt2}, "u": {OID: oidInt8}, "f": {OID: oidFloat8}, "f4": {OID: oidFloat4}, "b": {OID: oidBool}, "s": {OID: 25},
	"n": {OID: oidNumeric}, "nf": {OID: oidNumeric}, "y": {OID: oidBytea}, "yt": {OID: 25}, "t": {OID: oidTimestamptz}, "ts": {OID: oidTimestamp},
	"d": {OID: oidDate}, "j": {OID: oidJSON}, "jb": {OID: oidJSONB}, "p": {OID: 25}, "pi": {OID: oidInt4}, "sn": {OID: 25}, "si": {OID: oidInt4},
	"st": {OID: oidTimestamptz}, "ta": {OID: 1009, Kind: Array, Delim: ',', Elem: &Type{OID: 25}},
	"sa": {OID: 1185, Kind: Array, Delim: ',', Elem: &Type{OID: oidTimestamptz}},
	"co": {OID: 20000, Kind: Composite, Attrs: []Column{
		{Name: "a", Type: &Type{OID: oidInt4}},
		{Name: "b", Type: &Type{OID: oidTimestamp}},
		{Name: "j", Type: &Type{OID: oidJSON}, NotNull: true},
		{Name: "r", Type: &Type{Kind: Array, Delim: ';', Elem: &Type{Kind: Range, Elem: &Type{OID: oidTimestamptz}}}},
	}},
	"hs": {OID: 20001, Kind: Hstore}, "ra": {OID: 3910, Kind: Range, Elem: &Type{OID: oidTimestamptz}}, "oi": {OID: oidOID}, "js": {OID: oidJSONB},
	"ia": {OID: oidInt2Vector, Kind: Array, Delim: ',', Elem: &Type{OID: oidInt2}},
}

// everyPlan compiles a plan, with or without its short ways.
func everyPlan(tb testing.TB, short bool) *Plan {
	tb.Helper()
	s, err := schema.Parse(&every{}, &sync.Map{}, schema.NamingStrategy{})
	require.NoError(tb, err)
	var cols []Column
	for _, field := range s.Fields {
		if t := everyTypes[field.DBName]; t != nil {
			cols = append(cols, Column{Name: field.DBName, Type: t})
		}
	}
	require.Len(tb, cols, len(everyTypes))
	p, err := Compile(s, cols, Options{Zone: time.FixedZone("", 19*3600/2+7)})
	require.NoError(tb, err)
	for i := range p.columns {
		if !short {
			p.columns[i].put = nil
		}
	}
	return p
}

var rowSeeds = []string{
	`{"i":-9223372036854775808,"i2":-1,"u":4294967295,"f":-0,"f4":1.1,"b":true,"s":"a\u00e9\n","n":1.50,"nf":1.5,"y":"\\x00ff","yt":"t","t":"2024-01-02T03:04:05.1234+00:00",` +
		`"ts":"0044-03-15T01:02:03 BC","d":"2024-02-29","j": {"a": 1} ,"jb":[1, 2],"p":"x","pi":1,"sn":"y","si":2,"st":"2024-01-02T03:04:05+00:00","ta":["a","b c",null,""],` +
		`"sa":[["2024-01-02T03:04:05+00:00"]],"co":{"a":1,"b":"2024-01-02T03:04:05","j":null,"r":["[\"2024-01-02 03:04:05+00\",)"]},"hs":{"a":"b","c":null},` +
		`"ra":"[\"2024-01-02 03:04:05+00\",infinity)","oi":"5","js":{"a":[1]},"ia":[1,2],"x":"x"}`,
	`{"i":null,"s":null,"b":null,"t":null,"j":null,"js":null,"ta":null,"co":null,"hs":null,"p":null,"sn":null}`,
	`{"i":"1","s":1,"b":"t","t":"x","f":"NaN","n":"NaN","y":"text","ts":"infinity","ta":"{a}","co":"(1)","hs":"a","oi":5,"js":"x","j":"x"}`,
	`{"i":5,"i":null,"p":"x","p":null}`, `{"j" : null , "j":null ,"jb": null }`, `{"co":{"r":[["["]]}}`, `{"ra":"\""}`, `{"y":"\\x0"}`, `{"y":"\\x00`, `{"ta":[[],[[]]]}`, `{"t":"`, `{"i":1`, `{`, ``, `{"b":tru`,
}

// FuzzDecode holds that decoding never panics, accepts no JSON that
// encoding/json rejects and rejects none that it accepts, and gives the same
// with the short ways as without.
func FuzzDecode(f *testing.F) {
	for _, seed := range append(rowSeeds, walkSeeds...) {
		f.Add(seed)
	}
	short, long := everyPlan(f, true), everyPlan(f, false)
	f.Fuzz(func(t *testing.T, src string) {
		var a, b every
		dst := reflect.ValueOf(&a).Elem()
		next, err := short.DecodeAt(t.Context(), src, 0, dst)
		longNext, longErr := long.DecodeAt(t.Context(), src, 0, reflect.ValueOf(&b).Elem())
		require.Equal(t, longErr, err)
		require.Equal(t, longNext, next)
		for _, f := range [][2]*float64{{&a.F, &b.F}, {&a.NF, &b.NF}} {
			require.Equal(t, math.Float64bits(*f[1]), math.Float64bits(*f[0]))
			*f[0], *f[1] = 0, 0 // NaN doesn't equal itself below
		}
		require.Equal(t, math.Float32bits(b.F4), math.Float32bits(a.F4))
		a.F4, b.F4 = 0, 0
		require.Equal(t, b, a)

		skipped, skipErr := Skip(src, 0)
		if err == nil {
			require.NoError(t, skipErr)
			require.Equal(t, skipped, next)
			require.True(t, json.Valid([]byte(src[:next])))
		} else {
			require.Zero(t, a)
			require.Zero(t, next)
		}
		decodeErr := short.Decode(t.Context(), src, dst)
		if e, ok := decodeErr.(*DecodeError); ok && e.Column == "" && json.Valid([]byte(src)) { //nolint:errorlint // its own type
			require.NotEqual(t, "{", strings.TrimLeft(src, " \t\r\n")[:1], "%v", e)
		}
		short.Missing(src)
		short.Unknown(src)
	})
}
