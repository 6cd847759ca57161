package diskimage

import (
	"context"
	"fmt"
	"strings"

	"kios/host/arch"
	"kios/host/hosttool"
)

// ReadEtc copies what a raw disk that Create made has for the node's /etc into the directory
// dir, as dir/etc. The node must be off.
func ReadEtc(ctx context.Context, disk, dir string) error {
	_, err := hosttool.Run(ctx, "debugfs", "-R", fmt.Sprintf(`rdump /meta/etc "%s"`, dir), fmt.Sprintf("%s?offset=%d", disk, dataStart))
	return err
}

// CheckArch says whether a raw disk that Create made boots machines of another architecture
// only, by the name of the file that firmware starts. What cannot be read is left to the
// firmware.
func CheckArch(ctx context.Context, disk string, a arch.Arch) error {
	out, err := hosttool.Run(ctx, "mdir", "-b", "-i", fmt.Sprintf("%s@@%d", disk, espStart), "::/EFI/BOOT")
	names := strings.ToUpper(out)
	if err != nil || strings.Contains(names, a.EFI.Boot) {
		return nil
	}
	for _, other := range arch.All {
		if strings.Contains(names, other.EFI.Boot) {
			return fmt.Errorf("it boots machines of %s, and not of %s: give --arch %[1]s, or another disk", other.Name, a.Name)
		}
	}
	return nil
}
