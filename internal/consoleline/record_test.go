package consoleline

import "testing"

func TestClean(t *testing.T) {
	tests := []struct {
		in    string
		limit int
		want  string
	}{
		{"plain", 10, "plain"},
		{"0123456789", 10, "0123456789"},
		{"0123456789a", 10, "0123456..."},
		{"ääääääääää", 10, "äää..."},
		{"a\x00b\rc\x7fd\u009be", 20, "abcde"},
		{"a\u202eb\u2066c\u2028d", 20, "abcd"},
		{"bad \xff byte", 20, "bad ? byte"},
	}
	for _, tt := range tests {
		if got := Clean(tt.in, tt.limit); got != tt.want {
			t.Errorf("Clean(%q, %d) = %q, want %q", tt.in, tt.limit, got, tt.want)
		}
	}
}
