package triggers

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"
)

// MaxIdentifier is the longest identifier, and so the longest channel name,
// that Postgres keeps, in bytes (NAMEDATALEN - 1).
const MaxIdentifier = 63

// Fit returns name if it is a possible identifier. A longer one is cut at a
// character's boundary and ends in an underscore and eight hexadecimal digits
// of the whole name's SHA-256, so that the result is always the same and two
// long names that begin alike stay apart.
func Fit(name string) string {
	if len(name) <= MaxIdentifier {
		return name
	}
	suffix := "_" + Digest(name)
	cut := MaxIdentifier - len(suffix)
	for cut > 0 && !utf8.RuneStart(name[cut]) {
		cut--
	}
	return name[:cut] + suffix
}

// Reload is the channel on which a migration tells the listening processes that
// tables may have changed.
const Reload = "pubsub_reload"

// Wake is the channel on which the durable queue's workers are told to look. Its
// payload is the channel that has new events, or empty when some are due soon.
const Wake = "pubsub_wake"

// Gate is the first half of the advisory lock keys by which writers learn
// whether workers sleep. The second half is GateKey.
const Gate = 0x70756267

// Order is the first half of the advisory lock keys of ordered subscriptions whose
// events share a key. The second half is the subscription's number.
const Order = 0x7075626f

// Numbers is how many numbers an event takes, and so how many rows a packet may
// have.
const Numbers = 64

// GateKey returns the second half of the lock key of a channel.
func GateKey(schema, channel string) int32 { return Hash32(Wire(schema, channel)) }

// Wire returns the name by which Postgres knows the channel: the channel's own
// with the default schema, and one that begins with the schema otherwise, so
// that applications with schemas of their own don't hear each other.
func Wire(schema, channel string) string {
	if schema == "" || schema == DefaultSchema {
		return channel
	}
	return Fit(schema + "." + channel)
}

// Digest returns the first eight hexadecimal digits of the text's SHA-256.
func Digest(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:4])
}

// Hash32 returns 32 bits of the text's SHA-256, for advisory locks.
func Hash32(text string) int32 {
	sum := sha256.Sum256([]byte(text))
	return int32(binary.BigEndian.Uint32(sum[:4])) //nolint:gosec // any 32 bits do
}

func quote(parts ...string) string { return pgx.Identifier(parts).Sanitize() }
