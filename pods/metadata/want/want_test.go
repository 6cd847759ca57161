package want

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestOverlay(t *testing.T) {
	type m = map[string]any
	under := m{"a": 1, "b": m{"x": 1, "y": m{"z": 1}}, "c": []any{1}, "d": m{"x": 1}}
	got := Overlay(under, m{"b": m{"y": m{"z": 2}}, "c": []any{2}, "d": 3, "e": m{"x": 1}})
	want := m{"a": 1, "b": m{"x": 1, "y": m{"z": 2}}, "c": []any{2}, "d": 3, "e": m{"x": 1}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Overlay (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(m{"x": 1, "y": m{"z": 1}}, under["b"]); diff != "" {
		t.Errorf("Overlay changes what is below:\n%s", diff)
	}
	if got := Overlay(nil, nil); got == nil {
		t.Error("Overlay(nil, nil) = nil")
	}
}
