// Package fetch gets what metadata services say: with bounds of size and time, without
// proxies, and again until they answer.
package fetch
