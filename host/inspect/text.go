package inspect

import (
	"fmt"
	"io"
	"strconv"
	"strings"
)

// pathWidth is the column that paths are padded to; lines are to fit in 100.
const pathWidth = 44

// Write prints the report for a person.
func (r *Report) Write(w io.Writer) error {
	p := &printer{w: w}
	p.line("%s  kiOS %s for %s, %s bytes, kernel %s", r.File, r.Version, r.Arch, thousands(r.Size), r.Kernel)
	p.line("command line: %s", r.Cmdline)
	r.writeParts(p)
	r.writeSections(p)
	r.writeInitrd(p)
	r.writeImages(p)
	r.writeFiles(p)
	r.writeLinks(p)
	r.writeDirs(p)
	r.writeBinaries(p)
	r.writeProcesses(p)
	if len(r.Problems) > 0 {
		p.heading("Problems")
		for _, text := range r.Problems {
			p.line("  %s", text)
		}
	}
	return p.err
}

// printer keeps the first error, so that printing code need not look at it.
type printer struct {
	w   io.Writer
	err error
}

func (p *printer) line(format string, args ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintln(p.w, strings.TrimRight(fmt.Sprintf(format, args...), " "))
	}
}

func (p *printer) heading(format string, args ...any) {
	p.line("")
	p.line(format, args...)
}

func (r *Report) writeParts(p *printer) {
	p.heading("Where the bytes are")
	var total int64
	for _, part := range r.Parts {
		p.line("%14s  %4.1f %%  %s", thousands(part.Size), percent(part.Size, r.Size), part.Name)
		total += part.Size
	}
	p.line("%14s          total", thousands(total))
}

func (r *Report) writeSections(p *printer) {
	p.heading("Sections of the EFI file: name, offset, size, beginning of its SHA-256")
	for _, s := range r.Sections {
		p.line("  %-10s %12s %12s  %.16s", s.Name, thousands(s.Offset), thousands(s.Size), s.SHA256)
	}
}

func (r *Report) writeInitrd(p *printer) {
	p.heading("Entries of the initrd: mode, size, path")
	for _, f := range r.Initrd {
		p.line("  %s %12s  %s", f.Mode, thousands(f.Size), f.Path)
	}
}

func (r *Report) writeImages(p *printer) {
	p.heading("Images of the OS (%d): layer, size, origin, licence", len(r.Images))
	for _, i := range r.Images {
		p.line("  %s", i.Name)
		for _, l := range i.Layers {
			p.line("      %-10s %9s  %s (%s)", l.Title, human(l.Size), l.Origin, l.Licence)
		}
	}
}

func (r *Report) writeFiles(p *printer) {
	p.heading("Files of the root (%d): path, mode, size, size on disk, origin; purpose, licence", len(r.Files))
	for _, f := range r.Files {
		path := f.Path
		if len(path) >= pathWidth {
			p.line("  %s", path)
			path = ""
		}
		p.line("  %-*s%s %9s %9s  %s %s", pathWidth, path, f.Mode, human(f.Size), human(f.OnDisk), f.Upstream, f.Version)
		about := f.Purpose
		if about == "" {
			about = "NO STATED PURPOSE"
		}
		if f.Licence != "" {
			about += " (" + f.Licence + ")"
		}
		p.wrapped("      ", about)
	}
}

func (r *Report) writeLinks(p *printer) {
	p.heading("Links of the root (%d): path, target; purpose", len(r.Links))
	for _, l := range r.Links {
		p.line("  %s -> %s", l.Path, l.Target)
		p.wrapped("      ", l.Purpose)
	}
}

func (r *Report) writeDirs(p *printer) {
	p.heading("Directories of the root (%d)", len(r.Dirs))
	for _, d := range r.Dirs {
		p.line("  %s  %s", d.Mode, d.Path)
	}
}

func (r *Report) writeBinaries(p *printer) {
	p.heading("Binaries (%d): path, size, linking, compiler and main module", len(r.Binaries))
	for _, b := range r.Binaries {
		p.line("  %-32s %9s  %s", b.Path, human(b.Size), strings.Join(b.traits(), ", "))
	}
}

func (b *Binary) traits() []string {
	t := []string{"dynamic"}
	if b.Static {
		t[0] = "static"
	}
	if b.Setuid {
		t = append(t, "SETUID")
	}
	if b.GoVersion != "" {
		t = append(t, b.GoVersion)
	}
	if b.Module != "" {
		t = append(t, fmt.Sprintf("%s and %d more modules", b.Module, len(b.Modules)))
	}
	return t
}

func (r *Report) writeProcesses(p *printer) {
	p.heading("Processes of a running node that are not in containers")
	for _, x := range r.Processes {
		p.line("  %-18s %-32s %s", x.Name, x.Path, x.Purpose)
	}
}

// wrapped prints text in lines of up to 100 columns.
func (p *printer) wrapped(indent, text string) {
	line := indent
	for _, word := range strings.Fields(text) {
		if len(line)+len(word) > 100 && line != indent {
			p.line("%s", line)
			line = indent
		}
		line += word + " "
	}
	if line != indent {
		p.line("%s", line)
	}
}

func percent(part, whole int64) float64 {
	if whole == 0 {
		return 0
	}
	return 100 * float64(part) / float64(whole)
}

// thousands prints a number with a comma at every three digits.
func thousands(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// human prints a size in a decimal unit.
func human(n int64) string {
	switch {
	case n >= 1e6:
		return fmt.Sprintf("%.1f MB", float64(n)/1e6)
	case n >= 1e4:
		return fmt.Sprintf("%.0f kB", float64(n)/1e3)
	}
	return fmt.Sprintf("%d B", n)
}
