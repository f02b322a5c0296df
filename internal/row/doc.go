// Package row turns the JSON text that Postgres prints for a table row into a
// GORM model, and gives what a GORM SELECT of that row would have given.
//
// Use it for a row that a trigger captured with row_to_json under pinned
// settings: bytea_output=hex, extra_float_digits=1, TimeZone=UTC,
// DateStyle='ISO, YMD' and IntervalStyle=postgres. A row comes as text because
// that is what a notification and an event table can carry.
//
// [Compile] makes a [Plan] once for a model and its table's [Columns]. The plan
// takes each JSON token along the way that a column of a SELECT takes: to the
// driver.Value that pgx's database/sql driver gives for the column's type, from
// there through the conversion that database/sql does in Scan, and into the
// field as GORM sets it. Serializers, Scanners, embedded structs and pointers
// therefore behave as they do in a SELECT. Fields of the basic kinds are set
// directly.
//
// What JSON loses is known when the plan is compiled: [Plan.Differs] lists the
// columns whose value can't be guaranteed to equal a SELECT's, and why.
//
// A payload may be older than the model and the table: columns that the model
// lacks are ignored, columns that the payload lacks stay zero, and a token of
// another type than the column's is converted where database/sql would convert
// it. Malformed JSON is an error, as it is in encoding/json.
package row
