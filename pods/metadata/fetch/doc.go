// Package fetch gets what metadata services say: with bounds of size and time, without
// proxies, and again until they answer.
//
// An answer is a status of 200 or 204, and 404, which says that there is no such thing.
// All else (no connection, another status, an answer that is too large, too slow or makes
// no sense) is asked again, after a second, then after twice as long, up to a minute,
// until the context ends: a machine without its metadata has nothing better to do. A
// client says why it waits, once a minute. Where it is known that there was something, it is
// asked for again for a minute before 404, or nothing in an answer, is believed.
package fetch
