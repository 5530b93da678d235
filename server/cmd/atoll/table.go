package main

import (
	"io"
	"os"
	"strings"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

// The colours of a cell.
const (
	plain  = ""
	green  = "\x1b[32m"
	yellow = "\x1b[33m"
	red    = "\x1b[31m"
	faint  = "\x1b[2m"
	reset  = "\x1b[0m"
)

// cell is one field of a table.
type cell struct {
	text   string
	colour string
	right  bool // numbers stand at the right
}

func text(s string) cell                { return cell{text: s} }
func number(s string) cell              { return cell{text: s, right: true} }
func coloured(s, colour string) cell    { return cell{text: s, colour: colour} }
func (c cell) width() int               { return utf8.RuneCountInString(c.text) }
func (c cell) padding(width int) string { return strings.Repeat(" ", width-c.width()) }

// table is rows under a head, in columns as wide as their widest field.
type table struct {
	head []string
	rows [][]cell
}

func (t *table) add(cells ...cell) { t.rows = append(t.rows, cells) }

// write prints the table. Colours go only to a terminal.
func (t *table) write(w io.Writer) error {
	widths := make([]int, len(t.head))
	head := make([]cell, len(t.head))
	for i, h := range t.head {
		head[i] = cell{text: h, colour: faint}
		for _, row := range t.rows {
			head[i].right = head[i].right || row[i].right
			widths[i] = max(widths[i], row[i].width())
		}
		widths[i] = max(widths[i], head[i].width())
	}
	colours := isTerminal(w)
	var b strings.Builder
	for _, row := range append([][]cell{head}, t.rows...) {
		var line strings.Builder
		for i, c := range row {
			shown := c.text
			if colours && c.colour != plain && c.text != "" {
				shown = c.colour + c.text + reset
			}
			pad := c.padding(widths[i])
			if c.right {
				shown, pad = pad+shown, ""
			}
			line.WriteString(shown)
			if i < len(row)-1 {
				line.WriteString(pad + "  ")
			}
		}
		b.WriteString(strings.TrimRight(line.String(), " ") + "\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// isTerminal tells whether somebody may be looking on. NO_COLOR is honoured.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok || os.Getenv("NO_COLOR") != "" || os.Getenv("TERM") == "dumb" {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}
