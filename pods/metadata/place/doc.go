// Package place writes the files of a node, and remembers of which machine they are: a
// disk that is put into another one starts afresh.
package place
