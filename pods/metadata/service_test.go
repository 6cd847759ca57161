package metadata

import (
	"errors"
	"slices"
	"testing"
)

// Each mistake is one line that says what it is about, once.
func TestMistakes(t *testing.T) {
	got := mistakes(errors.Join(errors.New("user data, part 2: cloud-config: a"), errors.New("NodeConfig: b")))
	if want := []string{"user data, part 2: cloud-config: a", "user data: NodeConfig: b"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}
