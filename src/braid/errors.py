"""Everything Braid raises on purpose, as one tree.

::

    BraidError                 exit 1   a job cannot go on; the text says who, where, expected, got, next
    ├── UsageError             exit 2   the caller asked for something that does not exist
    │   ├── SettingsError               an unknown BRAID_* name, or a value outside its range
    │   ├── DeclarationError            a dataset's YAML: file, $.path, expected, got, next
    │   └── UnknownDataset              no declaration of that name
    ├── StackError             exit 1   a part of the local stack
    │   ├── MissingPrerequisite         Java, Chromium, memory, disk: names what to install or free
    │   ├── PortInUse                   names the port, and the process that holds it
    │   ├── HomeUnusable                BRAID_HOME cannot be written, or belongs to another process
    │   ├── JarRefused                  a jar's sha256 differs from the checked-in list
    │   ├── NotReady                    a service did not answer in time, or is down
    │   └── AlreadyRunning              another `braid up` holds the lock
    ├── LedgerError            exit 1   the protocol refuses; never caught to go on
    │   ├── Gap                         offsets between head and what Kafka still holds are missing
    │   ├── LostRace                    another writer committed this seq
    │   ├── BeingApplied                a changed declaration has no generation yet
    │   ├── BulkPending                 history was taken in bulk, and no generation covers it yet
    │   ├── CutPassedHead               a generation's cut is newer than the reader's head
    │   ├── RangeRefused                a micro-batch's range does not continue the ledger
    │   └── SeenIdsRefused              the file of seen ids is damaged, foreign or ahead: it is rebuilt
    ├── ChangeRefused          exit 1   a changed declaration that cannot be applied to what was counted
    ├── RollbackRefused        exit 1   the older generation cannot answer any more: names the view and the seq
    ├── AuditFailed            exit 1   batch and speed differ; the publication is blocked
    ├── MasterRefused          exit 1   the archive on disk is not what was archived: names the file
    ├── ReceiptRefused         exit 1   a receipt that was altered on its way, or cannot be checked here
    └── StoreUnavailable       exit 1   Kafka, Cassandra or Hive did not answer

Errors are split by whose fault they are, so the edge (command line, HTTP) needs no table of its own:
`exit_code` is the process's exit status, 2 for a wrong request and 1 for a job that failed.
"""

from typing import ClassVar


class BraidError(Exception):
    """Base of everything Braid raises on purpose.

    Attributes
    ----------
    exit_code : int, the exit status of a command that ends by this error

    Examples
    --------
    >>> str(LostRace("landcover: seq 7: committed by another writer")), Gap.exit_code, SettingsError.exit_code
    ('landcover: seq 7: committed by another writer', 1, 2)
    """

    exit_code: ClassVar[int] = 1


class UsageError(BraidError):
    """The caller asked for something that does not exist."""

    exit_code: ClassVar[int] = 2


class SettingsError(UsageError):
    """An unknown BRAID_* name, or a value outside its range."""


class DeclarationError(UsageError):
    """A declaration that cannot be used: file, $.path, expected, got, next."""


class UnknownDataset(UsageError):
    """No declaration of that name under datasets/."""


class StackError(BraidError):
    """A part of the local stack cannot be used."""


class MissingPrerequisite(StackError):
    """Java, Chromium, memory or disk: the text says what to install or to free."""


class PortInUse(StackError):
    """A port is taken; the text names the process that holds it."""


class HomeUnusable(StackError):
    """BRAID_HOME cannot be written, or is not Braid's."""


class JarRefused(StackError):
    """A jar's sha256 differs from the checked-in list, or the jar is not on the list."""


class NotReady(StackError):
    """A service did not answer in time, or is down."""


class AlreadyRunning(StackError):
    """Another `braid up` or `braid down` holds the lock of this BRAID_HOME."""


class LedgerError(BraidError):
    """The protocol refuses to go on; catching this to continue would break the promises."""


class Gap(LedgerError):
    """Offsets between the ledger's end and what Kafka still holds are missing."""


class LostRace(LedgerError):
    """Another writer committed this seq, or moved `current`, first."""


class BeingApplied(LedgerError):
    """A changed declaration is in force and no generation of it is served yet: finish `braid apply`."""


class BulkPending(LedgerError):
    """History was taken in bulk and no generation that covers it is served yet: finish `braid load`, or run the batch."""


class CutPassedHead(LedgerError):
    """A generation's cut is newer than the reader's head: its ledger is older than its generation."""


class RangeRefused(LedgerError):
    """A micro-batch's range does not continue the ledger."""


class SeenIdsRefused(LedgerError):
    """The file of seen ids is damaged, foreign or ahead of the ledger: it is set aside and rebuilt."""


class ChangeRefused(BraidError):
    """A changed declaration cannot take the place of the one in force; the text has every reason."""


class RollbackRefused(BraidError):
    """An older generation cannot be served again: what came after it is no longer whole, or it is not kept."""


class AuditFailed(BraidError):
    """Batch and speed differ; the text names the key and the delta."""


class MasterRefused(BraidError):
    """A file or manifest of the master is missing, or is not the one that was archived."""


class ReceiptRefused(BraidError):
    """A receipt was altered on its way, or names what does not exist here."""


class StoreUnavailable(BraidError):
    """Kafka, Cassandra or Hive did not answer."""
