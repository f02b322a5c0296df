// Package envelope is the message protocol between clients, such as browsers,
// and the application. So far it has the outgoing frame, which the example
// prints; what registers, validates and sends messages is still to come.
package envelope
