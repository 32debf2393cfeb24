package bundle

// heldEntry is an index or a manifest that has been read and verified before its turn to be handed on.
type heldEntry struct {
	Entry
	data []byte
}

// readGraph reads all indexes and manifests and checks what they make together, so that nobody parses one of a graph that
// is refused.
func (r *Reader) readGraph() error {
	entries, metadata := r.entries, make(map[string][]byte)
	for r.read < len(entries) && entries[r.read].Role.rank() <= RoleManifest.rank() {
		e, err := r.choose()
		if err != nil {
			return err
		}
		if err := enterEntry(r.medium, e); err != nil {
			return err
		}
		data := make([]byte, e.Size)
		if err := r.readInto(e, data); err != nil {
			return err
		}
		metadata[e.Digest()] = data
		r.held = append(r.held, heldEntry{e, data})
	}
	if err := CheckGraph(r.manifest, metadata); err != nil {
		return asSigned(err, 0)
	}
	r.checked = true
	return nil
}
