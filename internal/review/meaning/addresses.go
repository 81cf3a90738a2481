package meaning

import (
	"net/netip"
	"slices"
)

// addresses is a set of addresses: ranges, sorted and apart from one another.
type addresses []addressRange

// addressRange has both ends included, and both of one family.
type addressRange struct{ from, to netip.Addr }

func rangeOf(p netip.Prefix) addressRange {
	p = p.Masked()
	last := p.Addr().AsSlice()
	for bit := p.Bits(); bit < len(last)*8; bit++ {
		last[bit/8] |= 1 << (7 - bit%8)
	}
	to, _ := netip.AddrFromSlice(last)
	return addressRange{p.Addr(), to}
}

func addressesOf(prefixes ...string) addresses {
	var out addresses
	for _, p := range prefixes {
		out = append(out, rangeOf(netip.MustParsePrefix(p)))
	}
	return out.tidy()
}

func (a addresses) tidy() addresses {
	slices.SortFunc(a, func(x, y addressRange) int { return x.from.Compare(y.from) })
	var out addresses
	for _, r := range a {
		if n := len(out); n > 0 && sameFamily(out[n-1], r) {
			after := out[n-1].to.Next()
			if !after.IsValid() || r.from.Compare(after) <= 0 {
				if r.to.Compare(out[n-1].to) > 0 {
					out[n-1].to = r.to
				}
				continue
			}
		}
		out = append(out, r)
	}
	return out
}

func sameFamily(a, b addressRange) bool { return a.from.Is4() == b.from.Is4() }

// without is what is in a and not in b. Both are tidy.
func (a addresses) without(b addresses) addresses {
	var out addresses
	start := 0
	for _, r := range a {
		for start < len(b) && b[start].to.Compare(r.from) < 0 {
			start++
		}
		from, left := r.from, true
		for _, taken := range b[start:] {
			if taken.from.Compare(r.to) > 0 {
				break
			}
			if !sameFamily(taken, r) || taken.to.Compare(from) < 0 {
				continue
			}
			if taken.from.Compare(from) > 0 {
				out = append(out, addressRange{from, taken.from.Prev()})
			}
			if from = taken.to.Next(); !from.IsValid() || from.Compare(r.to) > 0 {
				left = false
				break
			}
		}
		if left {
			out = append(out, addressRange{from, r.to})
		}
	}
	return out
}

func (a addresses) holds(b addresses) bool { return len(b.without(a)) == 0 }

func (a addresses) overlaps(b addresses) bool {
	for _, r := range a {
		for _, o := range b {
			if r.from.Compare(o.to) <= 0 && o.from.Compare(r.to) <= 0 {
				return true
			}
		}
	}
	return false
}

// Well-known addresses.
var (
	everywhere = addressesOf("0.0.0.0/0", "::/0")
	metadata   = addressesOf("169.254.169.254/32", "fd00:ec2::254/128")
	// public is where the internet is. Of IPv6 that is all that is given out.
	publicV4 = addressesOf("0.0.0.0/0").without(addressesOf(
		"0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16", "224.0.0.0/3"))
	publicV6 = addressesOf("2000::/3")
)

// internet says whether so much is in it that it is no network of anybody's: a
// sixteenth of all public addresses, or more.
func (a addresses) internet() bool {
	var v4, v6 uint64
	for _, r := range a {
		b, e := r.from.As16(), r.to.As16()
		if r.from.Is4() {
			if publicV4.overlaps(addresses{r}) {
				v4 += uint64(be32(e[12:])-be32(b[12:])) + 1
			}
			continue
		}
		if publicV6.overlaps(addresses{r}) {
			v6 += uint64(be32(e[:4])-be32(b[:4])) + 1
		}
	}
	return v4 >= 1<<28 || v6 >= 1<<25
}

func be32(b []byte) uint32 {
	return uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
}

// texts writes the set as prefixes, or as ranges where that is shorter.
func (a addresses) texts() []string {
	var out []string
	for _, r := range a {
		if p, ok := r.prefix(); ok {
			out = append(out, p.String())
			continue
		}
		out = append(out, r.from.String()+" to "+r.to.String())
	}
	return out
}

// prefix is the one prefix that is the range, if there is one.
func (r addressRange) prefix() (netip.Prefix, bool) {
	for bits := 0; bits <= r.from.BitLen(); bits++ {
		p := netip.PrefixFrom(r.from, bits)
		if p.Masked() == p && rangeOf(p) == r {
			return p, true
		}
	}
	return netip.Prefix{}, false
}
