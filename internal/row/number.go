package row

// readInt reads the integer token at s[i:] that fits an int64. It is not ok
// for anything else, a number with a fraction or an exponent included; the
// caller then takes the slow way, which finds out what the token is.
func readInt(s string, i int) (v int64, end int, ok bool) {
	start := i
	neg := i < len(s) && s[i] == '-'
	if neg {
		i++
	}
	first := i
	var u uint64
	for i < len(s) && isDigit(s[i]) {
		u = u*10 + uint64(s[i]-'0')
		i++
	}
	digits := i - first
	// 18 digits can't overflow; 19 can, and are checked below.
	if digits == 0 || digits > 19 || s[first] == '0' && digits > 1 {
		return 0, start, false
	}
	if i < len(s) && (s[i] == '.' || s[i] == 'e' || s[i] == 'E') {
		return 0, start, false
	}
	if neg {
		if u > 1<<63 {
			return 0, start, false
		}
		return -int64(u), i, true // 1<<63 wraps onto itself, as meant
	}
	if u > 1<<63-1 {
		return 0, start, false
	}
	return int64(u), i, true
}
