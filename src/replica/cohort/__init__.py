"""Who is in a replica: site, sex, age, and which levels are broken, as the paper's tables say."""
