/// The user's wish to end a run early.
export module load:interrupt;

export namespace load {

/// Has INT, TERM and HUP noted from now on, instead of ending the process.
void watch_for_interrupts();

/// Tells whether one of them has come.
[[nodiscard]] bool interrupted();

}  // namespace load
