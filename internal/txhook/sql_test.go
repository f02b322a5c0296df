package txhook

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestParse(t *testing.T) {
	t.Parallel()
	for query, want := range map[string]command{
		"SAVEPOINT a":  {savepoint, "a"},
		"savepoint A;": {savepoint, "a"},
		" \n\t/* x */ -- y\n savepoint \"A b\"\"c\"": {savepoint, `A b"c`},
		"SAVEPOINT `q`":                 {savepoint, "q"},
		"SAVEPOINT sp0x14000-- comment": {savepoint, "sp0x14000"},
		"RELEASE a":                     {release, "a"},
		"RELEASE SAVEPOINT a":           {release, "a"},
		"ROLLBACK TO a":                 {rollbackTo, "a"},
		"ROLLBACK TO SAVEPOINT a":       {rollbackTo, "a"},
		"rollback work to savepoint a":  {rollbackTo, "a"},
		"ROLLBACK TRANSACTION TO a":     {rollbackTo, "a"},
		"ROLLBACK":                      {rollback, ""},
		"rollback;":                     {rollback, ""},
		"ROLLBACK AND CHAIN":            {rollback, ""},
		"ABORT":                         {rollback, ""},
		"PREPARE TRANSACTION 'x'":       {rollback, ""},
	} {
		got, ok := parse(query)
		require.True(t, ok, query)
		require.Equal(t, want, got, query)
	}
	for _, query := range []string{
		"", "   ", "--", "/*", "SELECT 1", "PREPARE x AS SELECT 1", "SAVEPOINT", "SAVEPOINT \"open", "RELEASE", "ROLLBACK TO",
		"RESET ALL", "UPDATE x SET y = 'ROLLBACK'", "INSERT INTO savepoint VALUES (1)", "abortion", "rollbacks", "COMMIT",
	} {
		_, ok := parse(query)
		require.False(t, ok, query)
	}
}

func FuzzParse(f *testing.F) {
	f.Add("SAVEPOINT a")
	f.Add("ROLLBACK TO SAVEPOINT \"a\"\"b\" -- x")
	f.Fuzz(func(t *testing.T, query string) {
		c, ok := parse(query)
		if again, same := parse("/* x */" + query); ok && (!same || again != c) {
			t.Errorf("a comment in front of %q changes it", query)
		}
	})
}

func BenchmarkParse(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		parse(`INSERT INTO "parcels" ("label","weight") VALUES ($1,$2) RETURNING "id"`)
		parse(`SELECT * FROM "parcels" WHERE "id" = $1`)
	}
}
