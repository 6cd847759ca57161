package importer

import (
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
)

// Two archives may bring an image of the same name. The later one in the list wins, and
// any archive wins over the OS, except for the sandbox's image. So archives are imported
// from the end of the list to its start: what comes then leaves out the names that are
// taken, and has them if the winner could not be imported. The records of images remember
// which archives have left them out (replaced), or else those would count as incomplete,
// and be imported again at each boot.

// Ranks of the OS: archives of users have those between, in the order of the list.
const (
	systemRank  = 0
	sandboxRank = math.MaxInt
)

// Before the images of the OS come a few archives whose import is quick. The pods of the
// OS let others go first, and so do their images. But those are placed in a moment, and
// without them a node has no network: many small archives count as a large one, and so
// does one that is compressed: it has to be decompressed in full to know what it brings, or
// to bring it again, if its images were removed.
const (
	maxFirst     = 16       // archives
	maxFirstSize = 32 << 20 // bytes of all of them
	largeArchive = 16 << 20 // bytes of one
)

// inOrder returns what is to be imported, first things first. system are the images of the
// OS, or nil. Of those, the ones that a later archive is to bring come at the end, in case
// that it cannot.
func inOrder(found []*archive, system *archive) []*archive {
	var first, rest []*archive
	var size int64
	late := map[string]bool{} // what the rest brings
	isLate := func(name string) bool { return late[name] }
	for _, a := range slices.Backward(found) {
		if a.isQuick() && len(first) < maxFirst && size+a.file.Size <= maxFirstSize && !slices.ContainsFunc(a.names, isLate) {
			size += a.file.Size
			first = append(first, a)
			continue
		}
		rest = append(rest, a)
		for _, name := range a.names {
			late[name] = true
		}
	}
	if system == nil {
		return slices.Concat(first, rest)
	}
	now := system.with(func(name string) bool { return !isLate(name) })
	all := slices.Concat(first, []*archive{now}, rest)
	if last := system.with(isLate); len(last.names) > 0 {
		all = append(all, last)
	}
	return all
}

// with is an archive with some of its images only.
func (a *archive) with(wanted func(name string) bool) *archive {
	some := *a
	some.names = slices.DeleteFunc(slices.Clone(a.names), func(name string) bool { return !wanted(name) })
	return &some
}

func (a *archive) isQuick() bool { return !a.compressed && a.file.Size <= largeArchive }

// taken tells whether another archive has brought an image by a name, and wins.
func (im *Importer) taken(a *archive) func(name string) bool {
	return func(name string) bool {
		winner := im.winners[name]
		return winner != nil && winner.rank > a.rank
	}
}

// win notes that an archive has brought images. Only Run's goroutine changes winners.
func (im *Importer) win(a *archive, names []string) {
	im.mu.Lock()
	defer im.mu.Unlock()
	for _, name := range names {
		if !im.taken(a)(name) {
			im.winners[name] = a
		}
	}
}

// tellTaken names an archive some of whose images are not used, with one line for each
// archive whose images are.
func (im *Importer) tellTaken(ctx context.Context, a *archive, names []string) {
	lost := map[string][]string{}
	for _, name := range names {
		winner := im.winners[name]
		reason := winner.path + " has another image of that name, and counts, since it is the later one by name: remove one of the two, or give it another name"
		if winner.rank == sandboxRank {
			reason = "each pod needs the image of that name that is part of the OS: give yours another name, or remove it"
		}
		lost[reason] = append(lost[reason], name)
	}
	for _, reason := range slices.Sorted(maps.Keys(lost)) {
		im.failed(ctx, a.path, fmt.Errorf("%s: %s", shortList(lost[reason]), reason))
	}
}

// shortList names some of many.
func shortList(names []string) string {
	const most = 3
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}

// Bounds of what is kept in memory of all archives together.
const (
	maxArchives = 1000
	maxNames    = 10_000
)

var (
	errManyArchives = fmt.Errorf("there are more than %d image archives: only the last ones by name are imported: remove some, or put several images into one", maxArchives)
	errManyNames    = fmt.Errorf("it is not imported: with the later archives, it brings more than %d images: remove images or archives that are not needed", maxNames)
)
