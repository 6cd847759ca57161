// Package firstkios reads the user data of the first kiOS (kios.redcoat.dev/v1alpha1).
package firstkios
