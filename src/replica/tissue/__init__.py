"""Everything that is no vertebra: skin, muscles, throat, head, chest, and what lies around the patient."""
