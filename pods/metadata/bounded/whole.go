package bounded

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
)

// Whole is JSON into a struct, for an object that is not to be read in part: a field that
// the struct does not have is an error.
func Whole(text []byte, into any) error {
	if err := JSON(text, into); err != nil {
		return err
	}
	if unknown := Unknown(text, into); len(unknown) > 0 {
		return errors.New(unknown[0])
	}
	return nil
}

// Unknown returns a sentence for each field of a JSON object that a struct does not have. As
// for the parser, letters of both cases are the same. What into points to may be no struct.
func Unknown(text []byte, into any) (lines []string) {
	t := reflect.TypeOf(into).Elem()
	var fields map[string]json.RawMessage
	if t.Kind() != reflect.Struct || JSON(text, &fields) != nil {
		return nil
	}
	known := slices.Sorted(maps.Keys(fieldsOf(t)))
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		is := func(k string) bool { return strings.EqualFold(k, name) }
		if !slices.ContainsFunc(known, is) && len(lines) < maxUnknown {
			lines = append(lines, fmt.Sprintf("the field %.100q is unknown%s", name, Meant(name, known)))
		}
	}
	return lines
}

// Meant asks whether one of the known names was meant, for the end of a sentence, or is empty.
func Meant(name string, known []string) string {
	if len(name) > 40 {
		return ""
	}
	most := len(name) / 3
	best := ""
	for _, k := range known {
		if d := distance(name, k); d <= most {
			most, best = d-1, k
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf(": did you mean %q?", best)
}

// distance is Levenshtein's: how many letters are to be added, removed or changed.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			changed := diagonal
			if a[i] != b[j] {
				changed++
			}
			diagonal = row[j+1]
			row[j+1] = min(changed, row[j]+1, diagonal+1)
		}
	}
	return row[len(b)]
}
