// Package plain is what it takes to run SQL of our own beside GORM.
package plain

import (
	"strings"

	"gorm.io/gorm"
)

// Pool returns what runs SQL for db: its transaction, or its connection pool.
// GORM's cache of prepared statements is left out.
func Pool(db *gorm.DB) gorm.ConnPool {
	pool := db.Statement.ConnPool
	for {
		switch wrapped := pool.(type) {
		case *gorm.PreparedStmtDB:
			pool = wrapped.ConnPool
		case *gorm.PreparedStmtTX:
			pool = wrapped.Tx
		default:
			return pool
		}
	}
}

// Literal quotes text as an SQL string, whatever standard_conforming_strings.
func Literal(text string) string {
	quoted := "'" + strings.ReplaceAll(text, "'", "''") + "'"
	if strings.Contains(text, `\`) {
		return "E" + strings.ReplaceAll(quoted, `\`, `\\`)
	}
	return quoted
}
