package boottime

import (
	"testing"
	"time"
)

func TestNow(t *testing.T) {
	first := Now()
	time.Sleep(time.Millisecond)
	if second := Now(); first <= 0 || second < first+time.Millisecond {
		t.Errorf("Now() = %v, then %v a millisecond later", first, second)
	}
}

func TestBuildTime(t *testing.T) {
	got, err := builtAt("#1 SMP Sun Nov  1 12:00:05 UTC 2026")
	if want := time.Date(2026, 11, 1, 12, 0, 5, 0, time.UTC); err != nil || !got.Equal(want) {
		t.Errorf("builtAt = %v, %v, want %v", got, err, want)
	}
	if _, err := builtAt("#1 SMP"); err == nil {
		t.Error("a version without a date has a build time")
	}
}
