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
