// A module of its own, with the standard library only, so that the modules around
// the upstream programs can use it without our dependencies. The go line is the
// lowest one of those that require it.
module kios/internal/wholefile

go 1.25.0
