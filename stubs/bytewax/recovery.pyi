from typing import Any

RecoveryConfig: Any
init_db_dir: Any
