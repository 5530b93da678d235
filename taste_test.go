package atoll

import (
	"bufio"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"sort"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/atoll-live/atoll/"

// goFile is one parsed Go file of the tree.
type goFile struct {
	path  string // slash-separated, from the root
	dir   string
	file  *ast.File
	set   *token.FileSet
	lines int
	test  bool
}

func (f goFile) generated() bool {
	return ast.IsGenerated(f.file)
}

// tree parses every Go file of every module. It reads the files itself, so
// that the go tool's test cache notices each change.
func tree(t *testing.T) []goFile {
	t.Helper()
	var files []goFile
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && path != "." && (strings.HasPrefix(d.Name(), ".") || d.Name() == "node_modules" || d.Name() == "bin" || d.Name() == "testdata") {
			return filepath.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(path, ".go") {
			return nil
		}
		raw, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		set := token.NewFileSet()
		file, err := parser.ParseFile(set, path, raw, parser.ParseComments)
		if err != nil {
			return err
		}
		path = filepath.ToSlash(path)
		files = append(files, goFile{
			path: path, dir: filepath.ToSlash(filepath.Dir(path)), file: file, set: set,
			lines: strings.Count(string(raw), "\n"), test: strings.HasSuffix(path, "_test.go"),
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// floors reads docs/floors.txt: lines "floor folder", deepest folder wins.
func floors(t *testing.T) map[string]int {
	t.Helper()
	f, err := os.Open("docs/floors.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	m := map[string]int{}
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 2 || strings.HasPrefix(fields[0], "#") {
			continue
		}
		n, err := strconv.Atoi(fields[0])
		if err != nil {
			t.Fatalf("docs/floors.txt: %q does not begin with a floor", lines.Text())
		}
		m[fields[1]] = n
	}
	return m
}

// room is the folder of floors.txt that a folder lies in, "" when none.
func room(rooms map[string]int, dir string) string {
	for dir != "." && dir != "" {
		if _, ok := rooms[dir]; ok {
			return dir
		}
		dir = filepath.ToSlash(filepath.Dir(dir))
	}
	return ""
}

func TestTaste_ImportsGoDownTheFloors(t *testing.T) {
	rooms := floors(t)
	for _, f := range tree(t) {
		if f.dir == "." {
			continue
		}
		from := room(rooms, f.dir)
		if from == "" {
			t.Errorf("%s stands on no floor: give its folder a line in docs/floors.txt", f.path)
			continue
		}
		for _, spec := range f.file.Imports {
			imported, _ := strconv.Unquote(spec.Path.Value)
			dir, ours := strings.CutPrefix(imported, module)
			if !ours {
				continue
			}
			to := room(rooms, dir)
			if to == "" {
				t.Errorf("%s imports %s, which stands on no floor", f.path, dir)
			} else if to != from && rooms[to] >= rooms[from] && !(f.test && rooms[to] == 3) {
				t.Errorf("%s (floor %d) imports %s (floor %d): imports go down, siblings never meet", f.path, rooms[from], dir, rooms[to])
			}
		}
	}
}

func TestTaste_OnePackageCommentAPackage(t *testing.T) {
	comments, packages := map[string][]string{}, map[string]bool{}
	for _, f := range tree(t) {
		if f.test || strings.HasSuffix(f.file.Name.Name, "_test") {
			continue
		}
		packages[f.dir] = packages[f.dir] || !f.generated()
		if f.file.Doc != nil && !f.generated() {
			comments[f.dir] = append(comments[f.dir], f.path)
		}
	}
	for dir, own := range packages {
		if own && len(comments[dir]) != 1 {
			t.Errorf("package %s has %d package comments (%v): say in one sentence, in one file, what it is for", dir, len(comments[dir]), comments[dir])
		}
	}
}

func TestTaste_PackageNames(t *testing.T) {
	banned := []string{"util", "utils", "common", "base", "helper", "helpers", "manager", "misc", "types", "model", "models", "shared", "lib"}
	for _, f := range tree(t) {
		if slices.Contains(banned, f.file.Name.Name) {
			t.Errorf("%s: package %q says nothing of what it holds", f.path, f.file.Name.Name)
		}
	}
}

// Limits of size. What is longer has a line in large with the reason.
const (
	fileMax     = 600
	functionMax = 70
	packageMax  = 3500
)

func TestTaste_Sizes(t *testing.T) {
	large := map[string]string{}
	packages := map[string]int{}
	for _, f := range tree(t) {
		if f.generated() {
			continue
		}
		if !f.test {
			packages[f.dir] += f.lines
		}
		if _, ok := large[f.path]; f.lines > fileMax && !ok && !f.test {
			t.Errorf("%s has %d lines, more than %d: it holds two things", f.path, f.lines, fileMax)
		}
		for _, d := range f.file.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok || f.test {
				continue
			}
			n := f.set.Position(fn.End()).Line - f.set.Position(fn.Pos()).Line + 1
			if _, ok := large[f.path+":"+fn.Name.Name]; n > functionMax && !ok {
				t.Errorf("%s: %s has %d lines, more than %d: it does not fit a screen", f.path, fn.Name.Name, n, functionMax)
			}
		}
	}
	for dir, n := range packages {
		if _, ok := large[dir]; n > packageMax && !ok {
			t.Errorf("package %s has %d lines, more than %d", dir, n, packageMax)
		}
	}
}

// TestTaste_PureFloors keeps clock, goroutines and the outside world out of
// the documents, the decision, the machine of a move and the ids.
func TestTaste_PureFloors(t *testing.T) {
	pure := []string{"space", "route", "move", "idgen"}
	bannedImports := []string{"net", "net/http", "os", "log", "log/slog", "context", "math/rand", "math/rand/v2"}
	bannedCalls := []string{"Now", "Sleep", "After", "AfterFunc", "NewTimer", "NewTicker", "Tick", "Since", "Until"}
	for _, f := range tree(t) {
		if f.test || !slices.Contains(pure, strings.Split(f.dir, "/")[0]) {
			continue
		}
		for _, spec := range f.file.Imports {
			if name, _ := strconv.Unquote(spec.Path.Value); slices.Contains(bannedImports, name) {
				t.Errorf("%s imports %s: this floor is pure", f.path, name)
			}
		}
		ast.Inspect(f.file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.GoStmt:
				t.Errorf("%s starts a goroutine: this floor is pure", f.path)
			case *ast.SelectorExpr:
				if x, ok := n.X.(*ast.Ident); ok && x.Name == "time" && slices.Contains(bannedCalls, n.Sel.Name) {
					t.Errorf("%s calls time.%s: time arrives here as a value", f.path, n.Sel.Name)
				}
			}
			return true
		})
	}
}

// TestTaste_Words finds what shall not stay in the tree.
func TestTaste_Words(t *testing.T) {
	marks := regexp.MustCompile(`\b(` + "FIX" + `ME|TO` + `DO|X` + `XX)\b`)
	for _, f := range tree(t) {
		if f.path == "taste_test.go" || f.generated() {
			continue
		}
		for _, group := range f.file.Comments {
			if m := marks.FindString(group.Text()); m != "" {
				t.Errorf("%s: a comment says %s: do it, or write it into docs/PROGRESS.md", f.path, m)
			}
		}
		if !f.test {
			continue
		}
		ast.Inspect(f.file, func(n ast.Node) bool {
			s, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			x, ok := s.X.(*ast.Ident)
			if ok && x.Name == "time" && s.Sel.Name == "Sleep" {
				t.Errorf("%s sleeps: wait for a condition", f.path)
			}
			if ok && x.Name == "t" && strings.HasPrefix(s.Sel.Name, "Skip") {
				t.Errorf("%s skips a test: nobody would see it", f.path)
			}
			return true
		})
	}
}

// TestTaste_Links checks that relative links of the documents lead somewhere.
func TestTaste_Links(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)#]+)(#[^)]*)?\)`)
	var documents []string
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && path != "." && (strings.HasPrefix(d.Name(), ".") || d.Name() == "node_modules") {
			return filepath.SkipDir
		}
		if err == nil && strings.HasSuffix(path, ".md") {
			documents = append(documents, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	sort.Strings(documents)
	for _, document := range documents {
		raw, err := os.ReadFile(document)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range link.FindAllStringSubmatch(string(raw), -1) {
			if strings.Contains(m[1], "://") || strings.HasPrefix(m[1], "mailto:") {
				continue
			}
			if _, err := os.Stat(filepath.Join(filepath.Dir(document), m[1])); err != nil {
				t.Errorf("%s links to %s, which is not there", document, m[1])
			}
		}
	}
}

// TestTaste_RootDependencies keeps the library light: an application pays for
// each module in this list.
func TestTaste_RootDependencies(t *testing.T) {
	allowed := map[string]string{
		"connectrpc.com/connect":     "client of the console",
		"google.golang.org/protobuf": "messages of the console",
		"go.yaml.in/yaml/v3":         "documents as people write them",
		"golang.org/x/sys":           "CLOCK_BOOTTIME",
		"go.uber.org/goleak":         "tests",
		"pgregory.net/rapid":         "tests",
	}
	raw, err := os.ReadFile("go.mod")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(raw)) {
		fields := strings.Fields(strings.TrimPrefix(strings.TrimSpace(line), "require "))
		if len(fields) == 2 && strings.HasPrefix(fields[1], "v") && allowed[fields[0]] == "" {
			t.Errorf("go.mod requires %s: the library stays light (%d modules are allowed, each with a reason)", fields[0], len(allowed))
		}
	}
}

// TestTaste_CheckersCheck is the negative control of the floors.
func TestTaste_CheckersCheck(t *testing.T) {
	rooms := map[string]int{"space": 0, "route": 1, "server/console": 4, "server/console/store": 4}
	for dir, want := range map[string]string{
		"route/testx": "route", "server/console/store/etcd": "server/console/store", "web": "",
	} {
		if got := room(rooms, dir); got != want {
			t.Errorf("room(%s) = %q, want %q", dir, got, want)
		}
	}
	if fmt.Sprint(rooms["space"] < rooms["route"]) != "true" {
		t.Error("floors do not compare")
	}
}
