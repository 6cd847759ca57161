package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"kios/host/arch"
	"kios/host/erofs"
	"kios/host/inspect"
)

func newInspectCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "inspect [--json] [KIOS.EFI]",
		Short: "Show everything that is inside kios.efi",
		Long: `Takes an EFI file apart and shows where its bytes are: the sections, the initrd,
every file of the root with its purpose, origin and licence, the programs, and the
processes to expect on a running node. Without an argument it inspects kios.efi of
this checkout. It runs nothing from the file, and needs no root.

--json prints one object with these fields (sizes in bytes, modes as in ls):
  file, size, version, kernel, cmdline
  parts        name, size; the sizes add up to the file's size
  sections     name, offset, size, stored (with padding), sha256
  initrd       path, mode, size, onDisk
  files        path, mode, size, onDisk, purpose, upstream, version, licence
  links        path, target, purpose
  directories  path, mode, size, onDisk
  binaries     path, size, onDisk, static, setuid, goVersion, module,
               modules (path, version of the Go modules that are linked in)
  processes    name, path, purpose
  problems     differences between the root and its own list of files

The command fails if there are problems.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runInspect(cmd.Context(), cmd.OutOrStdout(), args, asJSON)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func runInspect(ctx context.Context, w io.Writer, args []string, asJSON bool) error {
	var path string
	if len(args) == 1 {
		path = args[0]
	} else {
		b, err := checkout(arch.Host())
		if err != nil {
			return fmt.Errorf("%w, or name an EFI file", err)
		}
		path = b.Out("kios.efi")
	}
	if _, err := os.Stat(path); os.IsNotExist(err) {
		return fmt.Errorf("EFI file %s does not exist; make it with kios build, or name another one", path)
	}
	report, err := inspect.Inspect(ctx, path, erofs.Tools{})
	if err != nil {
		return err
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
