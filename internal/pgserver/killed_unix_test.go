//go:build unix

package pgserver

import (
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestKilled(t *testing.T) {
	t.Parallel()

	t.Run("RunningProcess", func(t *testing.T) {
		t.Parallel()
		dir := folder(t)
		cmd, out := startChild(t, dir)
		line, err := out.ReadString('\n')
		require.NoError(t, err)
		url := strings.TrimSpace(line)
		require.NoError(t, answers(t.Context(), url))

		require.NoError(t, cmd.Process.Kill())
		require.Error(t, cmd.Wait())
		requireNothingLeft(t, dir)
	})

	t.Run("ProcessDuringInitdb", func(t *testing.T) {
		t.Parallel()
		dir := folder(t)
		cmd, _ := startChild(t, dir)
		require.Eventually(t, func() bool {
			found, err := filepath.Glob(filepath.Join(dir, "*", "data"))
			return err == nil && len(found) == 1
		}, 20*time.Second, time.Millisecond)
		require.NoError(t, cmd.Process.Kill())
		require.Error(t, cmd.Wait())
		requireNothingLeft(t, dir)
	})

	t.Run("SupervisingShell", func(t *testing.T) {
		t.Parallel()
		s, dir := startIn(t)
		l, ok := s.instance.(*local)
		require.True(t, ok)
		require.NoError(t, l.cmd.Process.Kill())
		require.Eventually(t, func() bool {
			_, err := io.WriteString(l.in, "\n")
			return err != nil
		}, 5*time.Second, time.Millisecond)
		require.Error(t, s.Restart(t.Context()))
		require.NoError(t, s.Stop())
		requireNothingLeft(t, dir)
	})

	t.Run("SupervisingShellPolitely", func(t *testing.T) {
		t.Parallel()
		s, dir := startIn(t)
		l, ok := s.instance.(*local)
		require.True(t, ok)
		require.NoError(t, l.cmd.Process.Signal(syscall.SIGTERM))
		requireNothingLeft(t, dir)
		require.NoError(t, s.Stop())
	})

	t.Run("PostgresComesBackWithRestart", func(t *testing.T) {
		t.Parallel()
		s, dir := startIn(t)
		text, err := os.ReadFile(filepath.Join(scan[string](t, s.URL(), "show data_directory"), "postmaster.pid"))
		require.NoError(t, err)
		first, _, _ := strings.Cut(string(text), "\n")
		pid, err := strconv.Atoi(first)
		require.NoError(t, err)
		require.NoError(t, syscall.Kill(pid, syscall.SIGKILL))
		require.Eventually(t, func() bool { return answers(t.Context(), s.URL()) != nil }, 5*time.Second, time.Millisecond)
		require.NoError(t, s.Restart(t.Context()))
		require.NoError(t, answers(t.Context(), s.URL()))
		require.NoError(t, s.Stop())
		requireNothingLeft(t, dir)
	})
}

func TestPrivileges(t *testing.T) {
	t.Parallel()
	_, dir := startIn(t)
	found, err := filepath.Glob(filepath.Join(dir, "*", "data"))
	require.NoError(t, err)
	require.Len(t, found, 1)
	info, err := os.Stat(filepath.Dir(found[0]))
	require.NoError(t, err)
	require.Equal(t, os.ModeDir|0o700, info.Mode(), "nobody else can connect")
	stat, ok := info.Sys().(*syscall.Stat_t)
	require.True(t, ok)
	if os.Geteuid() == 0 {
		require.NotZero(t, stat.Uid, "root dropped its privileges")
	} else {
		require.EqualValues(t, os.Geteuid(), stat.Uid)
	}
}
