// Package etccheck checks a directory for the node's /etc before the node has it:
// mistakes that the node could only log, and what the node will say about the files of
// the kubelet and of containerd. For the latter it runs the node's own programs, out of
// the EFI file that the node will boot, so both sides judge alike.
package etccheck

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Check finds mistakes in a directory for --etc: static pods that the kubelet would not
// run, links that lead nowhere on the node. It reports all of them, one a line.
// systemPods are the file names of the manifests that an empty file removes.
func Check(dir string, systemPods []string) error {
	info, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("open the directory for /etc: %w", err)
	}
	if !info.IsDir() {
		return fmt.Errorf("%s is not a directory: give one that is laid out like /etc", dir)
	}
	if _, err := os.Stat(filepath.Join(dir, "etc/kubernetes")); err == nil {
		return fmt.Errorf("%s has a directory etc in it: give that one, %s", dir, filepath.Join(dir, "etc"))
	}
	errs := checkLinks(dir)
	return errors.Join(append(errs, checkManifests(filepath.Join(dir, "kubernetes/manifests"), systemPods)...)...)
}

// read are the directories whose files the node itself reads. A link of another one may
// be for a pod, which has other files at its end.
var read = []string{"kubernetes", "containerd", "cni", "kios", "ssl", "apparmor.d", "sysctl.d"}

// checkLinks finds symbolic links that lead out of the directory: on the node there is
// nothing at their end.
func checkLinks(dir string) []error {
	var errs []error
	for _, name := range read {
		// What cannot be read is an error of the copy.
		filepath.WalkDir(filepath.Join(dir, name), func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.Type() == fs.ModeSymlink {
				errs = append(errs, checkLink(dir, path)...)
			}
			return nil
		})
	}
	return errs
}

func checkLink(dir, path string) []error {
	target, err := os.Readlink(path)
	if err != nil {
		return []error{err}
	}
	at := filepath.Join(filepath.Dir(path), target)
	if filepath.IsAbs(target) {
		at = filepath.Join(dir, strings.TrimPrefix(target, "/etc/"))
		if !strings.HasPrefix(target, "/etc/") {
			at = target
		}
	}
	kios := filepath.Join(dir, "kios")
	if strings.HasPrefix(path, kios+"/") && (filepath.IsAbs(target) || !strings.HasPrefix(at, kios+"/")) {
		return []error{fmt.Errorf("%s is a link to %s: the system pods see %s only, so put the file itself here, or a link without a leading slash to one in it", path, target, kios)}
	}
	rel, err := filepath.Rel(dir, at)
	if err != nil || !filepath.IsLocal(rel) {
		return []error{fmt.Errorf("%s is a link to %s, which is not below %s: the node would find nothing there; put the file itself here", path, target, dir)}
	}
	return nil
}
