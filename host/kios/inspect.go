package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"kios/host/arch"
	"kios/host/erofs"
	"kios/host/inspect"
)

func newInspectCommand() *cobra.Command {
	var asJSON bool
	var a *archValue
	cmd := &cobra.Command{
		Use:   "inspect [--json] [KIOS.EFI]",
		Short: "Show everything that is inside kios.efi",
		Long: `Takes an EFI file apart and shows where its bytes are: the sections, the initrd,
every file of the root with its purpose, origin and licence, the programs, and the
processes to expect on a running node. Without an argument it inspects kios.efi of
this checkout. It runs nothing from the file, and needs no root.

--json prints one object with these fields (sizes in bytes, modes as in ls):
  file, size, architecture, version, kernel, cmdline
  parts        name, size; the sizes add up to the file's size
  sections     name, offset, size, stored (with padding), sha256
  initrd       path, mode, size, onDisk
  files        path, mode, size, onDisk, purpose, upstream, version, licence
  links        path, target, purpose
  directories  path, mode, size, onDisk
  binaries     path, size, onDisk, static, setuid, goVersion, module,
               modules (path, version of the Go modules that are linked in)
  processes    name, path, purpose
  problems     differences between the root and its own list of files, and programs
               for another architecture than the file's

The command fails if there are problems.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			path, err := efiToInspect(a.Arch, args)
			if err != nil {
				return err
			}
			want := ""
			if cmd.Flags().Changed("arch") {
				want = a.Name
			}
			return runInspect(cmd.Context(), cmd.OutOrStdout(), path, want, asJSON)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	a = archFlag(cmd, "architecture that the file is for")
	return cmd
}

// efiToInspect is the file that is named, or that of the checkout for an architecture.
func efiToInspect(a arch.Arch, args []string) (path string, err error) {
	remedy := "name another one"
	if len(args) == 1 {
		path = args[0]
	} else {
		b, err := checkout(a)
		if err != nil {
			return "", fmt.Errorf("%w, or name an EFI file", err)
		}
		path = b.Out("kios.efi")
		remedy = fmt.Sprintf("make it with kios build%s, or name another one", a.Flag())
	}
	if missing(path) {
		return "", fmt.Errorf("EFI file %s does not exist; %s", path, remedy)
	}
	return path, nil
}

// runInspect shows an EFI file that is for the architecture want, or "" for any.
func runInspect(ctx context.Context, w io.Writer, path, want string, asJSON bool) error {
	report, err := inspect.Inspect(ctx, path, erofs.Tools{})
	if err != nil {
		return err
	}
	if want != "" && report.Arch != want {
		return fmt.Errorf("EFI file %s is for %s, and not for %s: name another one, or leave --arch out", path, report.Arch, want)
	}
	if err := printReport(w, report, asJSON); err != nil {
		return err
	}
	return report.Check()
}

func printReport(w io.Writer, report *inspect.Report, asJSON bool) error {
	if !asJSON {
		return report.Write(w)
	}
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(report)
}
