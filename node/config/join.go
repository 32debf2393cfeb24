package config

// Join is which cluster the machine of an agent joins, and by what. Once it has joined neither is needed: what it
// knows of the cluster lies in Paths.AgentPKI.
type Join struct {
	Server    string // "https://address:port"
	Token     string `json:"-"`
	TokenFile string
}

// ReadToken fills in a token that is given by a file.
func (j *Join) ReadToken() error { return readToken("token", &j.Token, j.TokenFile) }

// String hides the token from whoever prints a configuration.
func (j Join) String() string { return "join " + j.Server }

// GoString does the same for %#v.
func (j Join) GoString() string { return j.String() }
