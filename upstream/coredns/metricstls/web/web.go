// Package web stands in for the package of this name that CoreDNS serves its
// metrics with when its Corefile asks for TLS there. That is refused here, and
// CoreDNS says why.
package web

import (
	"errors"
	"log/slog"
	"net"
	"net/http"
)

var errNoTLS = errors.New("this CoreDNS has no TLS for its metrics: take it out of the line \"prometheus\" of the Corefile")

// FlagConfig has the fields that CoreDNS sets.
type FlagConfig struct {
	WebListenAddresses *[]string
	WebSystemdSocket   *bool
	WebConfigFile      *string
}

// Validate refuses each configuration of TLS.
func Validate(string) error { return errNoTLS }

// Serve is never called, since each configuration was refused before.
func Serve(net.Listener, *http.Server, *FlagConfig, *slog.Logger) error { return errNoTLS }
