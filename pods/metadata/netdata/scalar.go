package netdata

import (
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strconv"
	"strings"

	"kios/pods/metadata/bounded"
)

// text is a scalar, whether it is written as text, a number or a truth value.
type text string

// UnmarshalJSON takes any scalar.
func (t *text) UnmarshalJSON(raw []byte) error {
	err := bounded.Scalar(raw, (*string)(t))
	if errors.Is(err, bounded.ErrNested) {
		return errors.New("a list or a map is where text or a number belongs")
	}
	return err
}

// flag is nil if nothing is said.
func (t text) flag() *bool {
	if t == "" {
		return nil
	}
	on := slices.Contains([]string{"true", "yes", "on", "1"}, strings.ToLower(string(t)))
	return &on
}

// number is 0 if nothing is said, and -1 for what is no number.
func (t text) number() int {
	if t == "" {
		return 0
	}
	n, err := strconv.Atoi(strings.TrimSuffix(string(t), "ms"))
	if err != nil {
		return -1
	}
	return n
}

// list is a list of scalars. One scalar may have several words, as in ifupdown.
type list []string

// UnmarshalJSON takes a list, one scalar, or nothing.
func (l *list) UnmarshalJSON(raw []byte) error {
	if raw[0] != '[' {
		var one text
		err := one.UnmarshalJSON(raw)
		*l = strings.FieldsFunc(string(one), func(r rune) bool { return r == ' ' || r == ',' })
		return err
	}
	var items []text
	err := json.Unmarshal(raw, &items)
	for _, item := range items {
		*l = append(*l, string(item))
	}
	return err
}

// addresses is netplan's list, in which an address may be a map with its options.
type addresses []string

// UnmarshalJSON takes the addresses, without options.
func (a *addresses) UnmarshalJSON(raw []byte) error {
	var items []json.RawMessage
	if err := json.Unmarshal(raw, &items); err != nil {
		return err
	}
	for _, item := range items {
		var with map[string]json.RawMessage
		if json.Unmarshal(item, &with) == nil {
			*a = append(*a, slices.Sorted(maps.Keys(with))...)
			continue
		}
		var plain text
		if err := json.Unmarshal(item, &plain); err != nil {
			return err
		}
		*a = append(*a, string(plain))
	}
	return nil
}
