package userconfig

import (
	"errors"
	"fmt"
	"slices"
	"testing"
)

// One bad value of many costs a few looks at them, and many bad ones not more than some.
func TestGrowIsBounded(t *testing.T) {
	for _, tt := range []struct {
		name     string
		bad      func(int) bool
		lost     int // -1: some
		attempts int
	}{
		{"one", func(i int) bool { return i == 617 }, 1, 60},
		{"two that are apart", func(i int) bool { return i == 3 || i == 899 }, 2, 90},
		{"all", func(int) bool { return true }, 900, maxTries + 20},
		{"each second", func(i int) bool { return i%2 == 0 }, -1, maxTries + 20},
	} {
		all := tree{}
		for i := range 900 {
			all[fmt.Sprintf("k%03d", i)] = tt.bad(i)
		}
		attempts := 0
		got, lost := grow(tree{}, all, func(t tree) error {
			attempts++
			for _, bad := range t {
				if bad == true {
					return errors.New("bad")
				}
			}
			return nil
		})
		if tt.lost >= 0 && len(lost) != tt.lost || len(got)+len(lost) != 900 || attempts > tt.attempts {
			t.Errorf("%s: %d values taken and %d lost with %d attempts, want %d lost with at most %d", tt.name, len(got), len(lost), attempts, tt.lost, tt.attempts)
		}
	}
}

// A value that needs another one is good with it, wherever that is.
func TestGrowTogether(t *testing.T) {
	needs := map[string]string{"a": "z", "m": "n"}
	got, lost := grow(tree{}, tree{"a": 1, "m": 2, "n": 3, "x": 0, "z": 4}, func(t tree) error {
		for k, v := range t {
			if other := needs[k]; v == 0 || other != "" && t[other] == nil {
				return fmt.Errorf("%s is bad", k)
			}
		}
		return nil
	})
	if len(got) != 4 || len(lost) != 1 || !slices.Equal(lost[0].path, []string{"x"}) {
		t.Errorf("got %v, lost %v", got, lost)
	}
}
