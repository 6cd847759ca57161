package ratelimit

import (
	"testing"
	"time"
)

func TestLimit(t *testing.T) {
	l := Limit{Every: 3 * time.Second, Burst: 2}
	for _, tc := range []struct{ at, want time.Duration }{
		{time.Hour, 0},
		{time.Hour, 0},
		{time.Hour, 3 * time.Second},
		{time.Hour + time.Second, 2 * time.Second},
		{time.Hour + 3*time.Second, 0},
		{time.Hour + 3*time.Second, 3 * time.Second},
		{2 * time.Hour, 0},
		{2 * time.Hour, 0},
		{2 * time.Hour, 3 * time.Second},
	} {
		if got := l.Wait(tc.at); got != tc.want {
			t.Errorf("Wait at %s = %s, want %s", tc.at, got, tc.want)
		}
	}
}
