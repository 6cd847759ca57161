// Package userdata unpacks user data (base64, gzip, MIME) and gives each part to the
// package that knows its format.
package userdata
