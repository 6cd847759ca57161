package build

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"kios/host/arch"
	"kios/host/cpio"
	"kios/host/kernel"
	"kios/host/uki"
	"kios/internal/wholefile"
)

// words are the kernel's command line on every architecture, but for the consoles.
//
//   - rootfstype=ramfs: EROFS cannot be mounted from a file on tmpfs.
//   - printk.devkmsg=on: init and the daemons may write more than ten lines in
//     five seconds.
//   - loglevel=6: the console shows notices and worse; a serial line is slow.
//   - panic=10: a machine without hands comes back by itself.
//   - page_alloc.shuffle=1: free memory is handed out in no order that an attacker knows.
//   - not watchdog.stop_on_reboot=0: a driver knows best whether its watchdog may run on
//     while the firmware starts. Where it should not, the machine would be reset then.
const words = "rootfstype=ramfs printk.devkmsg=on loglevel=6 panic=10 page_alloc.shuffle=1"

// cmdline returns the command line. The last console is the one that user space gets;
// where there is no such port, the kernel leaves it out.
func cmdline(k arch.Kernel) string {
	line := []string{words}
	if k.Cmdline != "" {
		line = append(line, k.Cmdline)
	}
	return strings.Join(append(line, k.Consoles...), " ")
}

// sbat names our generation, for revocation under Secure Boot.
const sbat = "kios,1,kiOS,kios,%s,https://kios.local\n"

// buildKernel builds the kernel and its modules from Debian's source package, and
// returns the kernel in the cache.
func (b *Builder) buildKernel(ctx context.Context, debs debianPackages) (kernel.Product, error) {
	key, err := kernel.KeyPath()
	if err != nil {
		return kernel.Product{}, err
	}
	k, err := kernel.Build(ctx, b.Log, b.Arch, debs[kernelPackage].Deb, b.fragments(), key)
	if err != nil {
		return kernel.Product{}, fmt.Errorf("build the kernel: %w", err)
	}
	if err := b.buildModules(ctx, k.Modules); err != nil {
		return kernel.Product{}, fmt.Errorf("pack the kernel's modules: %w", err)
	}
	return k, nil
}

// fragments is the directory of the kernel's options.
func (b *Builder) fragments() string { return filepath.Join(b.Root, "kernel") }

// ConfigureKernel returns the path of the kernel's complete configuration. It finds what is
// wrong with the options without building a kernel.
func (b *Builder) ConfigureKernel(ctx context.Context) (string, error) {
	debs, err := b.fetchPackages(ctx, map[string]string{kernelPackage: b.Versions.Debian.Packages[kernelPackage]})
	if err != nil {
		return "", err
	}
	return kernel.Configure(ctx, b.Log, b.Arch, debs[kernelPackage].Deb, b.fragments())
}

// assemble puts the kernel, the initrd and the command line, which belong together, in
// their places, and then kios.efi, which holds them all.
func (b *Builder) assemble(debs debianPackages, bins programs, k kernel.Product) error {
	if err := b.writeInitrd(bins["stage1"]); err != nil {
		return fmt.Errorf("write the initrd: %w", err)
	}
	if err := b.publish("vmlinuz", k.Vmlinuz); err != nil {
		return err
	}
	line := cmdline(b.Arch.Kernel)
	if err := wholefile.Volatile(b.Out("cmdline"), []byte(line+"\n"), 0o644); err != nil {
		return err
	}
	return uki.Create(b.Out("kios.efi"), uki.Parts{
		Stub:      filepath.Join(debs[stubPackage].dir, "usr/lib/systemd/boot/efi", b.Arch.EFI.Stub),
		Linux:     b.Out("vmlinuz"),
		Uname:     k.Release,
		Initrd:    b.Out("initrd"),
		OSRelease: string(b.osRelease()),
		Cmdline:   line,
		SBAT:      fmt.Sprintf(sbat, b.Versions.KiOS),
	})
}

// writeInitrd writes the archive that the kernel unpacks: stage 1, the root, the
// modules and the images of the OS. It is not compressed, because these are.
func (b *Builder) writeInitrd(stage1 string) error {
	r, w := io.Pipe()
	go func() {
		buf := bufio.NewWriterSize(w, 1<<20)
		err := b.fillInitrd(cpio.NewWriter(buf), stage1)
		w.CloseWithError(errors.Join(err, buf.Flush()))
	}()
	defer r.Close() // ends the writer if the disk is full
	return wholefile.Copy(b.Out("initrd"), r, 0o644)
}

func (b *Builder) fillInitrd(w *cpio.Writer, stage1 string) error {
	// The directories that stage 1 mounts on, and a console for its panics.
	for _, dir := range []string{"dev", "extra", "proc", "root", "sys"} {
		if err := w.Dir(dir, 0o755); err != nil {
			return err
		}
	}
	if err := w.CharDevice("dev/console", 0o600, 5, 1); err != nil {
		return err
	}
	if err := w.FileFrom("init", 0o555, stage1); err != nil {
		return err
	}
	for _, name := range []string{"rootfs.erofs", "modules.erofs"} {
		if err := w.FileFrom(name, 0o444, b.Out(name)); err != nil {
			return err
		}
	}
	if err := w.Tree("images", b.Out("images")); err != nil {
		return err
	}
	return w.Close()
}
