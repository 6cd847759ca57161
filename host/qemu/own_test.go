package qemu

import "testing"

func TestTranslates(t *testing.T) {
	for said, want := range map[string]bool{
		"QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18+b3)\nCopyright (c)": false,
		"QEMU emulator version 10.0.13 (Debian 1:10.0.13+ds-0+deb13u1)\n":               false,
		"QEMU emulator version 11.0.4\n":                                                false,
		"QEMU emulator version 11.1.0\n":                                                true,
		"QEMU emulator version 12.0.0\n":                                                true,
		"something else":                                                                true,
	} {
		if got := translates(said); got != want {
			t.Errorf("translates(%q) = %t, want %t", said, got, want)
		}
	}
}
