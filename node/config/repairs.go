package config

import "time"

// Repair is something that a start found damaged and put right as well as it could.
type Repair struct {
	Time   time.Time `json:"time"`
	What   string    `json:"what"`             // "datastore", "images" …
	Damage string    `json:"damage"`           // what was found
	Done   string    `json:"done"`             // what was done about it, and what is lost
	Aside  string    `json:"aside,omitempty"`  // folder of the damaged files
	Remedy string    `json:"remedy,omitempty"` // what somebody should do; empty: nothing
}

// MaxRepairs is how many are remembered.
const MaxRepairs = 20

// Repairs is the file with the list of repairs, the newest last. It outlives the run.
func (p Paths) Repairs() string { return p.join("agent", "repairs.json") }

// ReadRepairs reads the list; empty if nothing has ever been repaired.
func ReadRepairs(p Paths) ([]Repair, error) { return readState[[]Repair](p.Repairs()) }
