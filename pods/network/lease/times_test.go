package lease

import (
	"encoding/json"
	"testing"
	"time"
)

func TestLength(t *testing.T) {
	for _, tc := range []struct {
		expiry time.Duration
		want   string
	}{
		{3*time.Minute + 400*time.Millisecond, "2m0s"},
		{Forever, "an unlimited time"},
	} {
		if got := (Times{Expiry: tc.expiry}).Length(time.Minute); got != tc.want {
			t.Errorf("Length with expiry %s = %q, want %q", tc.expiry, got, tc.want)
		}
	}
}

// A timer stands still while the machine is suspended.
func TestSleepIsShort(t *testing.T) {
	for _, tc := range []struct{ until, want time.Duration }{
		{0, 0},
		{time.Hour, 0},
		{time.Hour + time.Second, time.Second},
		{2 * time.Hour, time.Minute},
		{Forever, time.Minute},
	} {
		if got := Sleep(time.Hour, tc.until); got != tc.want {
			t.Errorf("Sleep from 1h until %s = %s, want %s", tc.until, got, tc.want)
		}
	}
}

// Leases are kept in files, which another version of the program may have
// written.
func TestTimesAreFieldsOfTheirLease(t *testing.T) {
	type lease struct {
		Server string
		Times
	}
	want := lease{"a", Times{1, 2, Forever}}
	const text = `{"Server":"a","Renew":1,"Rebind":2,"Expiry":9223372036854775807}`
	if got, err := json.Marshal(want); string(got) != text || err != nil {
		t.Errorf("Marshal = %s, %v, want %s", got, err, text)
	}
	var got lease
	if err := json.Unmarshal([]byte(text), &got); got != want || err != nil {
		t.Errorf("Unmarshal = %v, %v, want %v", got, err, want)
	}
}
