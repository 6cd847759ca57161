package trial

import "strings"

// LastError returns, of a daemon's last lines, the last one that says an error, without
// the head that its logger puts before the text; or "" if none does. It knows the lines
// of klog (the kubelet), logrus (containerd), and of Go's runtime.
func LastError(lines []string) string {
	for i := len(lines) - 1; i >= 0; i-- {
		if text, is := errorIn(lines[i]); is {
			return clip(text, maxCause)
		}
	}
	return ""
}

func errorIn(line string) (text string, is bool) {
	switch {
	case isKlogError(line):
		if _, text, found := strings.Cut(line, "] "); found {
			return text, true
		}
		return line, true
	case strings.Contains(line, " level=error ") || strings.Contains(line, " level=fatal "):
		_, text, _ := strings.Cut(line, " msg=")
		return text, true
	case strings.HasPrefix(line, "panic: "), strings.HasPrefix(line, "fatal error: "),
		strings.HasPrefix(line, "containerd: "), strings.HasPrefix(line, "kubelet: "),
		strings.Contains(line, "Error: "), strings.Contains(line, `"err":`):
		return line, true
	}
	return "", false
}

// isKlogError recognises "E1123 07:12:33..." and the same with F.
func isKlogError(line string) bool {
	return len(line) > 5 && (line[0] == 'E' || line[0] == 'F') && strings.Trim(line[1:5], "0123456789") == "" && line[5] == ' '
}
