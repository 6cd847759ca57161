package args

import (
	"strings"
	"testing"
)

func TestValueAndWithout(t *testing.T) {
	list := strings.Fields("--a 1 --b=2 --c --d")
	for _, tt := range []struct{ name, value, without string }{
		{"a", "1", "--b=2 --c --d"},
		{"b", "2", "--a 1 --c --d"},
		{"d", "", "--a 1 --b=2 --c"},
		{"e", "", "--a 1 --b=2 --c --d"},
	} {
		if got := Value(list, tt.name); got != tt.value {
			t.Errorf("Value of %s = %q, want %q", tt.name, got, tt.value)
		}
		if got := strings.Join(Without(list, tt.name), " "); got != tt.without {
			t.Errorf("Without %s = %q, want %q", tt.name, got, tt.without)
		}
	}
}
