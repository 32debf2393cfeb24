package peer

import (
	"crypto/sha256"
	"fmt"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"airgap/internal/site"
)

const seederAddress = "10.0.0.1:6446"

// game is a tracker with a clock of its own.
type game struct {
	*testing.T
	tracker *Tracker
	now     time.Time
}

func newGame(t *testing.T) *game {
	g := &game{T: t, now: time.Unix(1e9, 0)}
	g.tracker = NewTracker(TrackerOptions{Seeders: func() []string { return []string{seederAddress} }, Now: func() time.Time { return g.now }, Seed: 1})
	return g
}

// blobNamed is the digest of a blob in these tests.
func blobNamed(name string) string { return digestOf([]byte(name)) }

func digests(names ...string) (list []string) {
	for _, name := range names {
		list = append(list, blobNamed(name))
	}
	return list
}

// ask is a question of the n-th joiner.
func (g *game) ask(n int, request site.ExchangeRequest) *site.ExchangeResponse {
	g.Helper()
	request.Address = "ignored:6446"
	q, err := parseQuestion(&request, fmt.Sprintf("10.0.1.%d:50000", n))
	if err != nil {
		g.Fatal(err)
	}
	answer, err := g.tracker.answer(q)
	if err != nil {
		g.Fatal(err)
	}
	return answer
}

func address(n int) string { return fmt.Sprintf("10.0.1.%d:6446", n) }

// want asks for blobs with one slot and wants an answer: "blob from address", or "" for a wait.
func (g *game) want(n int, names []string, from string) (got string) {
	g.Helper()
	answer := g.ask(n, site.ExchangeRequest{Want: digests(names...), Slots: 1})
	if from == "" {
		if len(answer.Take) != 0 || answer.Wait <= 0 {
			g.Errorf("joiner %d is told to take %v, want to wait", n, answer.Take)
		}
		return ""
	}
	if len(answer.Take) != 1 || answer.Take[0].From != from {
		g.Errorf("joiner %d is told to take %v (wait %v), want one from %s", n, answer.Take, answer.Wait, from)
		return ""
	}
	for _, name := range names {
		if answer.Take[0].Digest == blobNamed(name) {
			got = name
		}
	}
	return got
}

// has lets a joiner say that it took a blob from somebody, and has it.
func (g *game) has(n int, name, from string) {
	g.Helper()
	g.ask(n, site.ExchangeRequest{Have: digests(name), Done: []site.Take{{Digest: blobNamed(name), From: from}}})
}

func (g *game) failed(n int, name, from, why string) {
	g.Helper()
	g.ask(n, site.ExchangeRequest{Failed: []site.Take{{Digest: blobNamed(name), From: from, Why: why}}})
}

func TestSeederGivesABlobToOneJoinerAtATime(t *testing.T) {
	g := newGame(t)
	g.want(1, []string{"a"}, seederAddress)
	g.want(2, []string{"a"}, "")
	g.want(2, []string{"a", "b"}, seederAddress)
	g.want(3, []string{"a", "b"}, "")
	g.has(1, "a", seederAddress)
	g.want(3, []string{"a"}, address(1))
}

func TestJoinersWantDifferentBlobsFromTheSeeder(t *testing.T) {
	g := newGame(t)
	names := strings.Split("abcdefgh", "")
	taken := map[string]bool{}
	for n := range uploadsPerSeeder {
		taken[g.want(n+1, names, seederAddress)] = true
	}
	if len(taken) != uploadsPerSeeder {
		t.Errorf("%d joiners take %d different blobs", uploadsPerSeeder, len(taken))
	}
	g.want(9, names, "") // it gives to enough
}

func TestRarestIsTakenFirst(t *testing.T) {
	g := newGame(t)
	for n := 1; n <= 4; n++ {
		g.ask(n, site.ExchangeRequest{Have: digests("common")})
	}
	g.ask(5, site.ExchangeRequest{Have: digests("rare")})
	if got := g.want(6, []string{"common", "rare"}, address(5)); got != "rare" {
		t.Errorf("took %q", got)
	}
	if got := g.want(7, []string{"common", "rare", "unheld"}, seederAddress); got != "unheld" {
		t.Errorf("took %q", got)
	}
}

func TestAnUntriedJoinerGivesToOneAndATriedOneToMore(t *testing.T) {
	g := newGame(t)
	g.ask(1, site.ExchangeRequest{Have: digests("a")})
	g.want(2, []string{"a"}, address(1))
	g.want(3, []string{"a"}, "")
	g.has(2, "a", address(1))
	for n := 3; n < 3+uploadsPerSource+untriedUploads; n++ {
		if answer := g.ask(n, site.ExchangeRequest{Want: digests("a"), Slots: 1}); len(answer.Take) != 1 || answer.Take[0].From == seederAddress {
			t.Errorf("joiner %d: %v", n, answer)
		}
	}
	g.want(40, []string{"a"}, "")
}

func TestASecondCopyLeavesTheSeederWhenTheFirstTakesLong(t *testing.T) {
	g := newGame(t)
	beat := func(d time.Duration) {
		for range int(d / time.Second) {
			g.now = g.now.Add(time.Second)
			for n := 1; n <= 5; n++ {
				g.ask(n, site.ExchangeRequest{})
			}
		}
	}
	g.want(1, []string{"a"}, seederAddress)
	g.ask(5, site.ExchangeRequest{Have: digests("x")})
	g.want(4, []string{"x"}, address(5))
	beat(seedPatience - time.Second)
	g.want(2, []string{"a"}, "")
	beat(2 * time.Second)
	g.want(4, []string{"a"}, "") // it has something to do
	g.want(2, []string{"a"}, seederAddress)
	g.want(3, []string{"a"}, "") // a third has to wait for longer
}

func TestFailuresOfASource(t *testing.T) {
	for why, wait := range map[string]time.Duration{site.WhyBusy: busyRest, site.WhyBroken: firstRest, "": firstRest} {
		g := newGame(t)
		g.ask(1, site.ExchangeRequest{Have: digests("a")})
		g.want(2, []string{"a"}, address(1))
		g.failed(2, "a", address(1), why)
		g.want(2, []string{"a"}, seederAddress) // not again at once
		g.failed(2, "a", seederAddress, site.WhyBusy)
		g.now = g.now.Add(wait)
		g.want(2, []string{"a"}, address(1))
	}
}

func TestASourceOfWrongBytesIsNotNamedAgain(t *testing.T) {
	g := newGame(t)
	g.ask(1, site.ExchangeRequest{Have: digests("a", "b")})
	for n := 2; n < 2+doubtful; n++ {
		g.want(n, []string{"a"}, address(1))
		g.failed(n, "a", address(1), site.WhyBytes)
		g.now = g.now.Add(5 * time.Second)
		g.ask(1, site.ExchangeRequest{})
		g.want(n, []string{"a"}, seederAddress)
		g.failed(n, "a", seederAddress, site.WhyBusy)
	}
	g.want(9, []string{"b"}, seederAddress) // several have said so: not to others either

	// The seeder cannot be struck off like that.
	for n := 10; n < 20; n++ {
		g.failed(n, "a", seederAddress, site.WhyBytes)
	}
	g.want(20, []string{"c"}, seederAddress)
	g.want(11, []string{"d"}, "")
}

func TestABlobThatASourceDoesNotHave(t *testing.T) {
	g := newGame(t)
	g.ask(1, site.ExchangeRequest{Have: digests("a")})
	g.want(2, []string{"a"}, address(1))
	g.failed(2, "a", address(1), site.WhyAbsent)
	g.want(2, []string{"a"}, seederAddress)
	g.failed(2, "a", seederAddress, site.WhyAbsent)
	g.want(2, []string{"a"}, "")
	g.want(2, []string{"b"}, seederAddress)
	g.now = g.now.Add(longestRest + time.Second)
	g.want(3, []string{"a"}, seederAddress) // it may have got it since
}

func TestTheSilentAreForgotten(t *testing.T) {
	g := newGame(t)
	if !g.ask(1, site.ExchangeRequest{Have: digests("a")}).Forgot || g.ask(1, site.ExchangeRequest{}).Forgot {
		t.Error("a joiner is not told whether it is known")
	}
	g.want(2, []string{"b"}, seederAddress)
	g.now = g.now.Add(lapseAfter + time.Second)
	g.want(3, []string{"b"}, seederAddress) // the one that took it says nothing any more
	g.want(4, []string{"a"}, address(1))
	g.now = g.now.Add(forgetAfter - lapseAfter)
	g.want(3, []string{"a"}, seederAddress)
	g.want(4, []string{"b"}, seederAddress)
	if n := len(g.tracker.table.sources); n != 3 {
		t.Errorf("%d are remembered, want the seeder and two", n)
	}
	if !g.ask(1, site.ExchangeRequest{}).Forgot {
		t.Error("a joiner that was forgotten is not told")
	}
	for digest, b := range g.tracker.table.blobs {
		if b.idle() {
			t.Errorf("%s is remembered for nobody", digest)
		}
	}
}

func TestALostAnswerFreesWhatItNamed(t *testing.T) {
	g := newGame(t)
	g.want(1, []string{"a"}, seederAddress)
	g.want(1, []string{"a"}, seederAddress)
	if s := g.tracker.table.sources[seederAddress]; s.uploads != 1 {
		t.Errorf("the seeder gives %d", s.uploads)
	}
}

func TestMemoryIsBounded(t *testing.T) {
	g := newGame(t)
	many := make([]string, maxDigests)
	for host := range 20 {
		for i := range many {
			sum := sha256.Sum256(fmt.Appendf(nil, "%d %d", host, i))
			many[i] = key(sum).String()
		}
		g.ask(host, site.ExchangeRequest{Have: many})
	}
	if n := len(g.tracker.table.blobs); n > maxBlobs {
		t.Errorf("%d blobs are remembered", n)
	}
	g.want(30, []string{"no room for this"}, seederAddress)

	refused := 0
	for host := range 3 {
		for port := range 400 {
			q, err := parseQuestion(&site.ExchangeRequest{Address: fmt.Sprintf(":%d", port+1)}, fmt.Sprintf("10.0.2.%d:1", host))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := g.tracker.answer(q); err != nil {
				refused++
			}
		}
	}
	if want := 3 * (400 - maxPeersPerHost); refused != want {
		t.Errorf("%d machines were refused, want %d", refused, want)
	}
}

func TestDecisionsAreRepeatable(t *testing.T) {
	play := func() (all []site.Take) {
		g := newGame(t)
		names := strings.Split("abcdefghijklmnop", "")
		for round := range 60 {
			n := round%6 + 1
			answer := g.ask(n, site.ExchangeRequest{Want: digests(names...), Slots: 2})
			all = append(all, answer.Take...)
			for _, take := range answer.Take {
				if (round+n)%3 == 0 {
					g.ask(n, site.ExchangeRequest{Failed: []site.Take{{Digest: take.Digest, From: take.From, Why: site.WhyBroken}}})
				} else {
					g.ask(n, site.ExchangeRequest{Have: []string{take.Digest}, Done: []site.Take{take}})
				}
			}
			g.now = g.now.Add(300 * time.Millisecond)
		}
		return all
	}
	first := play()
	if len(first) < 30 {
		t.Errorf("only %d takes in the game", len(first))
	}
	if !reflect.DeepEqual(first, play()) {
		t.Error("the same questions at the same times get other answers")
	}
}

func TestNobodyNamesAThirdMachine(t *testing.T) {
	for name, test := range map[string]struct{ says, remote, want string }{
		"another host":     {"10.9.9.9:7000", "10.0.0.5:1234", "10.0.0.5:7000"},
		"no host":          {":7000", "10.0.0.5:1234", "10.0.0.5:7000"},
		"IPv6":             {"x:7000", "[fd00::5]:1234", "[fd00::5]:7000"},
		"IPv4 within IPv6": {"x:7000", "[::ffff:10.0.0.5]:1234", "10.0.0.5:7000"},
		"no port":          {"10.0.0.5", "10.0.0.5:1234", ""},
		"port 0":           {"10.0.0.5:0", "10.0.0.5:1234", ""},
		"large port":       {"10.0.0.5:70000", "10.0.0.5:1234", ""},
		"named port":       {"10.0.0.5:http", "10.0.0.5:1234", ""},
		"no connection":    {"10.0.0.5:7000", "@", ""},
	} {
		t.Run(name, func(t *testing.T) {
			q, err := parseQuestion(&site.ExchangeRequest{Address: test.says}, test.remote)
			if (err != nil) != (test.want == "") || err == nil && q.address != test.want {
				t.Errorf("got %+v, %v; want %q", q, err, test.want)
			}
		})
	}
}

func TestExchangeRefusesNonsense(t *testing.T) {
	tracker := NewTracker(TrackerOptions{Seeders: func() []string { return nil }})
	good := `"address":":6446"`
	for name, test := range map[string]struct {
		method, body string
		status       int
	}{
		"good":           {"POST", `{` + good + `}`, 200},
		"GET":            {"GET", `{` + good + `}`, 405},
		"no JSON":        {"POST", `hello`, 400},
		"no address":     {"POST", `{}`, 400},
		"short digest":   {"POST", `{` + good + `,"have":["sha256:abc"]}`, 400},
		"upper case":     {"POST", `{` + good + `,"want":["sha256:` + strings.Repeat("A", 64) + `"]}`, 400},
		"no hex":         {"POST", `{` + good + `,"want":["sha256:` + strings.Repeat("x", 64) + `"]}`, 400},
		"bad report":     {"POST", `{` + good + `,"failed":[{"digest":"../x","from":"a:1"}]}`, 400},
		"negative slots": {"POST", `{` + good + `,"slots":-1}`, 400},
		"many slots":     {"POST", `{` + good + `,"slots":1000}`, 400},
		"many digests":   {"POST", `{` + good + `,"have":["` + strings.Join(slices.Repeat(digests("a"), maxDigests+1), `","`) + `"]}`, 400},
		"too large":      {"POST", `{` + good + `,"have":["` + strings.Repeat("x", site.MaxMessageBytes) + `"]}`, 400},
	} {
		t.Run(name, func(t *testing.T) {
			r := httptest.NewRequest(test.method, site.PathExchange, strings.NewReader(test.body))
			w := httptest.NewRecorder()
			tracker.ServeHTTP(w, r)
			if w.Code != test.status || test.status != 200 && !strings.Contains(w.Body.String(), `"message"`) {
				t.Errorf("%d %.200s, want %d", w.Code, w.Body, test.status)
			}
		})
	}
}

// FuzzExchange holds that nothing a node sends makes the tracker panic, name a blob that was not wanted, or
// send a joiner to itself.
func FuzzExchange(f *testing.F) {
	f.Add([]byte(`{"address":":6446","want":["`+blobNamed("a")+`"],"slots":2}`), []byte(`{"address":":1","have":["`+blobNamed("a")+`"]}`))
	f.Add([]byte(`{"address":":6446","failed":[{"digest":"`+blobNamed("a")+`","from":"`+seederAddress+`","why":"bytes"}]}`), []byte(`{}`))
	f.Fuzz(func(t *testing.T, first, second []byte) {
		tracker := NewTracker(TrackerOptions{Seeders: func() []string { return []string{seederAddress} }, Seed: 1})
		for _, body := range [][]byte{first, second, first} {
			r := httptest.NewRequest("POST", site.PathExchange, strings.NewReader(string(body)))
			q, err := readQuestion(r)
			if err != nil {
				continue
			}
			answer, err := tracker.answer(q)
			if err != nil {
				t.Fatal(err)
			}
			for _, take := range answer.Take {
				k, err := parseKey(take.Digest)
				if err != nil || !slices.Contains(q.want, k) || take.From == q.address {
					t.Fatalf("%s is told to take %+v", q.address, take)
				}
			}
			if len(answer.Take) > q.slots {
				t.Fatalf("%d takes for %d slots", len(answer.Take), q.slots)
			}
		}
	})
}
