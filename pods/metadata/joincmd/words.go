package joincmd

import "strings"

// command is one of a shell's: its words, and the file that its output goes to.
type command struct {
	words  []string
	output string
}

// isEmpty finds what stands between two operators.
func (c command) isEmpty() bool { return len(c.words) == 0 && c.output == "" }

// lexer splits a text into commands, by those rules of a shell (sh(1)) that say where words
// begin and end. Nothing is expanded.
type lexer struct {
	commands []command
	current  command
	word     strings.Builder
	inWord   bool
	redirect bool // the next word is where output goes
	discard  bool // the next word is a file that is read
}

// split returns the commands of a text.
func split(text string) []command {
	var l lexer
	text = strings.ReplaceAll(text, "\r\n", "\n")
	for i := 0; i < len(text); {
		i += l.next(text[i:])
	}
	l.endCommand()
	return l.commands
}

// next takes what comes first in a text that is not empty, and returns its length.
func (l *lexer) next(text string) int {
	switch c := text[0]; c {
	case '\'', '"':
		return l.quoted(text, c)
	case '\\':
		return l.escaped(text)
	case ' ', '\t', '\r':
		l.endWord()
	case '\n', ';', '&', '|', '(', ')':
		l.endCommand()
	case '>', '<':
		return l.angle(text)
	case '#':
		if !l.inWord {
			return length(text, "\n")
		}
		l.add(text[:1])
	default:
		l.add(text[:1])
	}
	return 1
}

// length is how far it is to the next of sep, or to the end.
func length(text, sep string) int {
	if i := strings.Index(text, sep); i >= 0 {
		return i
	}
	return len(text)
}

func (l *lexer) add(text string) {
	l.word.WriteString(text)
	l.inWord = true
}

// quoted takes what is between quotes.
func (l *lexer) quoted(text string, quote byte) int {
	l.add("")
	for i := 1; i < len(text); i++ {
		switch {
		case text[i] == quote:
			return i + 1
		case text[i] == '\\' && quote == '"' && i+1 < len(text) && strings.IndexByte("\\\"$`\n", text[i+1]) >= 0:
			i++
			if text[i] != '\n' {
				l.add(text[i : i+1])
			}
		default:
			l.add(text[i : i+1])
		}
	}
	return len(text)
}

// escaped takes a backslash and what it is before.
func (l *lexer) escaped(text string) int {
	if len(text) > 1 && text[1] != '\n' {
		l.add(text[1:2])
	}
	return min(2, len(text))
}

// angle takes the sign of a redirection, as >, 2>, >>, >& or <.
func (l *lexer) angle(text string) int {
	descriptor := l.word.String()
	numbered := l.inWord && strings.Trim(descriptor, "0123456789") == ""
	if numbered {
		l.word.Reset()
		l.inWord = false
	}
	l.endWord()
	n := 1
	for n < len(text) && strings.IndexByte("<>&|", text[n]) >= 0 {
		n++
	}
	output := text[:n] == ">" || text[:n] == ">>" || text[:n] == ">|"
	l.redirect = output && (!numbered || descriptor == "1")
	l.discard = !l.redirect
	return n
}

func (l *lexer) endWord() {
	if !l.inWord {
		return
	}
	switch word := l.word.String(); {
	case l.redirect:
		l.current.output = word
	case !l.discard:
		l.current.words = append(l.current.words, word)
	}
	l.word.Reset()
	l.inWord, l.redirect, l.discard = false, false, false
}

func (l *lexer) endCommand() {
	l.endWord()
	if !l.current.isEmpty() {
		l.commands = append(l.commands, l.current)
	}
	l.current, l.redirect, l.discard = command{}, false, false
}
