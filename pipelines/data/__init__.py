"""Everything between a folder or a CSV and the manifest: opens every file, finds odd ones, and assigns splits."""

import pandas as pd

# Where pyarrow is installed, pandas would keep texts in its UTF-8 and refuse the name of a file that has other bytes.
pd.set_option("mode.string_storage", "python")
