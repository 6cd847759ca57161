package systembus

import (
	"errors"
	"fmt"

	"kios/init/dbuswire"
)

// Fault is an error with a name that clients know.
type Fault struct{ Name, Text string }

func (f *Fault) Error() string { return f.Text }

// Names of errors. Those of login1 and systemd1 are logind's and systemd's.
const (
	accessDenied     = "org.freedesktop.DBus.Error.AccessDenied"
	failed           = "org.freedesktop.DBus.Error.Failed"
	invalidArgs      = "org.freedesktop.DBus.Error.InvalidArgs"
	limitsExceeded   = "org.freedesktop.DBus.Error.LimitsExceeded"
	matchInvalid     = "org.freedesktop.DBus.Error.MatchRuleInvalid"
	matchNotFound    = "org.freedesktop.DBus.Error.MatchRuleNotFound"
	noOwner          = "org.freedesktop.DBus.Error.NameHasNoOwner"
	notSupported     = "org.freedesktop.DBus.Error.NotSupported"
	readOnly         = "org.freedesktop.DBus.Error.PropertyReadOnly"
	serviceUnknown   = "org.freedesktop.DBus.Error.ServiceUnknown"
	unknownInterface = "org.freedesktop.DBus.Error.UnknownInterface"
	unknownMethod    = "org.freedesktop.DBus.Error.UnknownMethod"
	unknownObject    = "org.freedesktop.DBus.Error.UnknownObject"
	unknownProperty  = "org.freedesktop.DBus.Error.UnknownProperty"

	inProgress = "org.freedesktop.login1.OperationInProgress"
	blocked    = "org.freedesktop.login1.BlockedByInhibitorLock"
	noSuchUnit = "org.freedesktop.systemd1.NoSuchUnit"
)

func fault(name, format string, args ...any) error {
	return &Fault{name, fmt.Sprintf(format, args...)}
}

// refusal turns a reply into that of an error.
func refusal(r *dbuswire.Message, err error) {
	var f *Fault
	if !errors.As(err, &f) {
		f = &Fault{failed, err.Error()}
	}
	r.Type, r.ErrorName, r.Signature, r.Body = dbuswire.Fault, f.Name, "s", []any{f.Text}
}
