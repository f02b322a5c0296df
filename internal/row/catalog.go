package row

import (
	"context"
	"database/sql"
	"fmt"
)

// Querier runs a query, as *sql.DB, *sql.Conn, *sql.Tx and gorm.ConnPool do.
type Querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// columnsQuery lists a table's columns and every type that they reach: domains
// to their base, arrays to their element, composites to their attributes,
// ranges to their subtype. One statement sees one state of the catalog.
//
// to_jsonb reads columns that not every supported version has: typsubscript and
// rngmultitypid came with Postgres 14. The planner knows nothing of how few rows
// a recursion has: a subquery for each would cost enough for a compilation by the
// server's JIT, which takes longer than all else.
const columnsQuery = `
WITH RECURSIVE reach(oid) AS (
	SELECT a.atttypid FROM pg_catalog.pg_attribute a
	WHERE a.attrelid = $1::pg_catalog.text::pg_catalog.regclass AND a.attnum > 0 AND NOT a.attisdropped
	UNION
	SELECT x.oid FROM reach
	JOIN pg_catalog.pg_type t ON t.oid = reach.oid
	CROSS JOIN LATERAL (
		SELECT t.typbasetype WHERE t.typtype = 'd'
		UNION ALL
		SELECT t.typelem WHERE t.typelem <> 0
		UNION ALL
		SELECT a.atttypid FROM pg_catalog.pg_attribute a
		WHERE t.typtype = 'c' AND a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped
		UNION ALL
		SELECT r.rngsubtype FROM pg_catalog.pg_range r
		WHERE r.rngtypid = t.oid OR (pg_catalog.to_jsonb(r) ->> 'rngmultitypid') = t.oid::pg_catalog.text
	) x(oid)
)
SELECT 'type', t.oid::pg_catalog.int8, t.typname::pg_catalog.text, t.typtype::pg_catalog.text, t.typnotnull,
	t.typbasetype::pg_catalog.int8,
	CASE WHEN t.typlen = -1 AND t.typtype = 'b'
		AND coalesce(pg_catalog.to_jsonb(t) ->> 'typsubscript', 'array_subscript_handler') = 'array_subscript_handler'
	THEN t.typelem ELSE 0 END::pg_catalog.int8,
	t.typdelim::pg_catalog.text,
	coalesce(range.subtype, 0)::pg_catalog.int8,
	t.oid >= 16384 AND t.oid IN (SELECT c.castsource FROM pg_catalog.pg_cast c
		WHERE c.casttarget = 'pg_catalog.json'::pg_catalog.regtype AND c.castmethod = 'f'),
	false, 0
FROM reach JOIN pg_catalog.pg_type t ON t.oid = reach.oid
LEFT JOIN (
	SELECT r.rngtypid::pg_catalog.text, r.rngsubtype FROM pg_catalog.pg_range r
	UNION ALL
	SELECT pg_catalog.to_jsonb(r) ->> 'rngmultitypid', r.rngsubtype FROM pg_catalog.pg_range r
) range(type, subtype) ON range.type = t.oid::pg_catalog.text
UNION ALL
SELECT 'attribute', a.atttypid::pg_catalog.int8, a.attname::pg_catalog.text, '', false,
	t.oid::pg_catalog.int8, 0, '', 0, false, false, a.attnum
FROM reach JOIN pg_catalog.pg_type t ON t.oid = reach.oid AND t.typtype = 'c'
JOIN pg_catalog.pg_attribute a ON a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped
UNION ALL
SELECT 'column', a.atttypid::pg_catalog.int8, a.attname::pg_catalog.text, '', a.attnotnull,
	0, 0, '', 0, false, a.attgenerated = 'v', a.attnum
FROM pg_catalog.pg_attribute a
WHERE a.attrelid = $1::pg_catalog.text::pg_catalog.regclass AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY 12`

// Columns reads a table's columns in catalog order, with their types. The table
// is an identifier as SQL takes it, quoted where that is needed and perhaps
// with its schema ('"Author"', 'app.author'). A table that doesn't exist is an
// error.
func Columns(ctx context.Context, q Querier, table string) (_ []Column, err error) {
	rows, err := q.QueryContext(ctx, columnsQuery, table)
	if err != nil {
		return nil, fmt.Errorf("read columns of %s: %w", table, err)
	}
	defer func() {
		if cerr := rows.Close(); err == nil && cerr != nil {
			err = fmt.Errorf("read columns of %s: %w", table, cerr)
		}
	}()
	c := catalog{types: make(map[int64]*catalogType)}
	for rows.Next() {
		if err := c.scan(rows); err != nil {
			return nil, fmt.Errorf("read columns of %s: %w", table, err)
		}
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read columns of %s: %w", table, err)
	}
	cols, err := c.resolveAll(c.columns)
	if err != nil {
		return nil, fmt.Errorf("read columns of %s: %w", table, err)
	}
	return cols, nil
}

// catalog is what columnsQuery returned, before its OIDs are resolved.
type catalog struct {
	columns []catalogColumn
	types   map[int64]*catalogType
}

type catalogColumn struct {
	name    string
	typeOID int64
	notNull bool
	virtual bool
}

type catalogType struct {
	oid             int64
	name, typtype   string
	notNull         bool
	base, elem, sub int64
	delim           string
	castsToJSON     bool
	attrs           []catalogColumn
	resolved        *Type
	resolving       bool
}

func (c *catalog) scan(rows *sql.Rows) error {
	var (
		what    string
		t       catalogType
		virtual bool
		num     int
	)
	err := rows.Scan(&what, &t.oid, &t.name, &t.typtype, &t.notNull, &t.base, &t.elem, &t.delim, &t.sub, &t.castsToJSON, &virtual, &num)
	if err != nil {
		return err
	}
	switch what {
	case "column":
		c.columns = append(c.columns, catalogColumn{name: t.name, typeOID: t.oid, notNull: t.notNull, virtual: virtual})
	case "attribute":
		// base carries the composite type's OID here.
		owner := c.typ(t.base)
		owner.attrs = append(owner.attrs, catalogColumn{name: t.name, typeOID: t.oid})
	default:
		// Types sort before what they own, by the number 0.
		*c.typ(t.oid) = t
	}
	return nil
}

func (c *catalog) typ(oid int64) *catalogType {
	t := c.types[oid]
	if t == nil {
		t = &catalogType{oid: oid}
		c.types[oid] = t
	}
	return t
}

func (c *catalog) resolveAll(cols []catalogColumn) ([]Column, error) {
	out := make([]Column, 0, len(cols))
	for _, col := range cols {
		t, err := c.resolve(col.typeOID)
		if err != nil {
			return nil, err
		}
		notNull := col.notNull || c.domainNotNull(col.typeOID)
		out = append(out, Column{Name: col.name, NotNull: notNull, Virtual: col.virtual, Type: t})
	}
	return out, nil
}

func (c *catalog) domainNotNull(oid int64) bool {
	for t := c.typ(oid); t.typtype == "d"; t = c.typ(t.base) {
		if t.notNull {
			return true
		}
	}
	return false
}

func (c *catalog) resolve(oid int64) (*Type, error) {
	ct := c.typ(oid)
	if ct.resolved != nil {
		return ct.resolved, nil
	}
	if ct.name == "" || ct.resolving {
		return nil, fmt.Errorf("type %d is not in the catalog, or holds itself", oid)
	}
	ct.resolving = true
	var err error
	if ct.typtype == "d" {
		ct.resolved, err = c.resolve(ct.base)
		return ct.resolved, err
	}
	t := &Type{OID: uint32(ct.oid), Name: ct.name} //nolint:gosec // an OID
	switch {
	case ct.elem != 0:
		t.Kind = Array
		t.Elem, err = c.resolve(ct.elem)
		t.Delim = c.typ(ct.elem).delim[0]
	case ct.typtype == "c":
		t.Kind = Composite
		t.Attrs, err = c.resolveAll(ct.attrs)
	case ct.castsToJSON && ct.name == "hstore":
		t.Kind = Hstore
	case ct.castsToJSON:
		t.Kind = Cast
	case ct.sub != 0:
		t.Kind = Range
		t.Elem, err = c.resolve(ct.sub)
	}
	ct.resolved = t
	return t, err
}
