package policy

import (
	"fmt"
	"net/netip"
	"slices"
)

// family is one of the two address families; it indexes arrays.
type family int

const (
	ip4 family = iota
	ip6
)

func (f family) String() string { return [...]string{"ip4", "ip6"}[f] }

// header is how nftables calls the family's header in expressions.
func (f family) header() string { return [...]string{"ip", "ip6"}[f] }

func (f family) nfproto() string { return [...]string{"ipv4", "ipv6"}[f] }

func (f family) addressType() string { return [...]string{"ipv4_addr", "ipv6_addr"}[f] }

func familyOf(a netip.Addr) family {
	if a.Is4() {
		return ip4
	}
	return ip6
}

// addressRange is all addresses from first to last, both included; of one family.
type addressRange struct{ first, last netip.Addr }

func rangeOf(p netip.Prefix) addressRange {
	p = p.Masked()
	last := p.Addr().AsSlice()
	for bit := p.Bits(); bit < len(last)*8; bit++ {
		last[bit/8] |= 0x80 >> (bit % 8)
	}
	end, _ := netip.AddrFromSlice(last)
	return addressRange{p.Addr(), end}
}

func (r addressRange) String() string {
	if r.first == r.last {
		return r.first.String()
	}
	return fmt.Sprintf("%s-%s", r.first, r.last)
}

// subtract returns what of ranges is not in hole.
func subtract(ranges []addressRange, hole addressRange) []addressRange {
	var left []addressRange
	for _, r := range ranges {
		if hole.last.Less(r.first) || r.last.Less(hole.first) {
			left = append(left, r)
			continue
		}
		if r.first.Less(hole.first) {
			left = append(left, addressRange{r.first, hole.first.Prev()})
		}
		if hole.last.Less(r.last) {
			left = append(left, addressRange{hole.last.Next(), r.last})
		}
	}
	return left
}

// merge returns the same addresses in ascending ranges that neither overlap nor touch.
func merge(ranges []addressRange) []addressRange {
	sorted := slices.SortedFunc(slices.Values(ranges), func(a, b addressRange) int { return a.first.Compare(b.first) })
	var merged []addressRange
	for _, r := range sorted {
		if n := len(merged); n > 0 {
			end := merged[n-1].last
			if next := end.Next(); !next.IsValid() || r.first.Compare(next) <= 0 {
				if end.Less(r.last) {
					merged[n-1].last = r.last
				}
				continue
			}
		}
		merged = append(merged, r)
	}
	return merged
}

// whole says whether ranges, merged, are every address of the family.
func whole(f family, ranges []addressRange) bool {
	all := netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	if f == ip6 {
		all = netip.PrefixFrom(netip.IPv6Unspecified(), 0)
	}
	return len(ranges) == 1 && ranges[0] == rangeOf(all)
}
