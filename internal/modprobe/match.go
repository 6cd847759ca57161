package modprobe

// normalizePattern makes - and _ one, as in the kernel, except between
// brackets, where - means a range. It changes the pattern in place.
func normalizePattern(pattern []byte) {
	inside := false
	for i, c := range pattern {
		switch {
		case c == '[':
			inside = true
		case c == ']':
			inside = false
		case c == '-' && !inside:
			pattern[i] = '_'
		}
	}
}

// match reports whether the whole of name fits a pattern with *, ? and [a-z],
// as in glob(7), where the slash is a character as any other.
func match(pattern []byte, name string) bool {
	star, retry := -1, 0 // where the last * is, and what it takes in next
	p, n := 0, 0
	for n < len(name) {
		if p < len(pattern) && pattern[p] == '*' {
			star, retry = p, n
			p++
			continue
		}
		if width := matchOne(pattern[p:], name[n]); width > 0 {
			p, n = p+width, n+1
			continue
		}
		if star < 0 {
			return false
		}
		retry++
		p, n = star+1, retry
	}
	for p < len(pattern) && pattern[p] == '*' {
		p++
	}
	return p == len(pattern)
}

// matchOne returns how much of the pattern's beginning stands for the character
// c, or 0.
func matchOne(pattern []byte, c byte) int {
	switch {
	case len(pattern) == 0:
		return 0
	case pattern[0] == '[':
		return matchClass(pattern, c)
	case pattern[0] == '?' || pattern[0] == c:
		return 1
	}
	return 0
}

func matchClass(pattern []byte, c byte) int {
	i, found := 1, false
	not := len(pattern) > 1 && (pattern[1] == '!' || pattern[1] == '^')
	if not {
		i++
	}
	for first := i; i < len(pattern); i++ {
		if pattern[i] == ']' && i > first {
			if found != not {
				return i + 1
			}
			return 0
		}
		low, high := pattern[i], pattern[i]
		if i+2 < len(pattern) && pattern[i+1] == '-' && pattern[i+2] != ']' {
			high = pattern[i+2]
			i += 2
		}
		found = found || low <= c && c <= high
	}
	return 0 // there is no ]
}
